// node-redis (npm: redis), RESP3: what applications on Node.js do. Usage: node node_redis.js HOST PORT
const { createClient } = require("redis");
const [host, port] = [process.argv[2], Number(process.argv[3])];
const say = (what, ...values) => console.log(`${what}: ${values.map((v) => JSON.stringify(v)).join(", ")}`);
const failure = (promise) => promise.then((v) => ({ unexpected: v }), (error) => error.message);

async function open(options = {}) {
  const client = createClient({ socket: { host, port }, RESP: 3, ...options });
  client.on("error", () => {});
  return client.connect();
}

async function main() {
  const r = await open();
  const other = await open();
  await r.flushAll();
  say("set", await r.set("a", "1", { EX: 100 }));
  say("get", await r.get("a"));
  say("incr", await r.incr("n"), await r.incrBy("n", 5));
  await r.hSet("h", { x: 1, y: "zwei" });
  say("hgetall", Object.entries(await r.hGetAll("h")).sort());
  await r.rPush("l", ["a", "b", "c"]);
  say("lrange", await r.lRange("l", 0, -1));
  await r.zAdd("z", [{ score: 1, value: "one" }, { score: 2.5, value: "two" }]);
  say("zrange", await r.zRangeWithScores("z", 0, -1));
  say("missing", await r.get("nothing"), await r.mGet(["a", "nothing"]));
  say("errors", await failure(r.incr("l")), await failure(r.sendCommand(["NOSUCH", "x"])));

  const all = await Promise.all([...Array(100).keys()].flatMap((i) => [r.set(`p:${i}`, String(i)), r.get(`p:${i}`)]));
  say("pipeline", all.length, all[199]);
  say("transaction", await r.multi().incr("n").get("n").exec());
  await r.watch("n");
  await other.incr("n");
  say("watch", await failure(r.multi().set("n", "0").exec()), await r.get("n"));

  const script = "return redis.call('incrby', KEYS[1], ARGV[1])";
  const sha = await r.scriptLoad(script);
  say("evalsha", await r.evalSha(sha, { keys: ["n"], arguments: ["5"] }));
  await r.scriptFlush();
  say("eval", await r.eval(script, { keys: ["n"], arguments: ["7"] }));

  const listener = await open();
  const heard = new Promise((resolve) => listener.subscribe("news", (text, channel) => resolve([channel, text]))
    .then(() => other.publish("news", "hello")));
  say("heard", await heard);
  say("while subscribed", await listener.get("a"));
  await listener.unsubscribe("news");

  const worker = await open();
  const job = worker.blPop(["jobs", "other"], 20);
  await other.rPush("jobs", "one");
  say("queue", await job, await worker.blPop("jobs", 1));
  const keys = new Set();
  for await (const page of r.scanIterator({ MATCH: "p:*", COUNT: 17 })) [page].flat().forEach((key) => keys.add(key));
  say("scan", keys.size);

  say("kill", await other.sendCommand(["CLIENT", "KILL", "ID", String(await r.sendCommand(["CLIENT", "ID"]))]));
  let again = null;
  for (let i = 0; i < 100 && again === null; ++i) {
    again = await r.get("a").catch(() => null);
    if (again === null) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  say("goes on", again);
  const elsewhere = await open({ database: 3 });
  say("another database", await elsewhere.get("a"));
  [r, other, listener, worker, elsewhere].forEach((each) => each.destroy());
}
main().catch((error) => { console.error(error); process.exit(1); });
