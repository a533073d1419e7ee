// ioredis: what applications on Node.js do. Usage: node ioredis.js HOST PORT; over TLS with TLS_CA=FILE [TLS_PASSWORD=...]
const Redis = require("ioredis");
const [host, port] = [process.argv[2], Number(process.argv[3])];
const { TLS_CA, TLS_PASSWORD } = process.env;
const security = TLS_CA ? { tls: { ca: require("fs").readFileSync(TLS_CA) }, password: TLS_PASSWORD } : {};
const say = (what, ...values) => console.log(`${what}: ${values.map((v) => JSON.stringify(v)).join(", ")}`);
const failure = (promise) => promise.then((v) => ({ unexpected: v }), (error) => error.message);

async function main() {
  const r = new Redis({ port, host, ...security });
  const other = new Redis({ port, host, ...security });
  await r.flushall();
  say("set", await r.set("a", "1", "EX", 100));
  say("get", await r.get("a"), await r.getBuffer("a"));
  say("incr", await r.incr("n"), await r.incrby("n", 5));
  await r.hset("h", { x: 1, y: "zwei" });
  say("hgetall", Object.entries(await r.hgetall("h")).sort());
  await r.rpush("l", "a", "b", "c");
  say("lrange", await r.lrange("l", 0, -1));
  say("missing", await r.get("nothing"), await r.mget("a", "nothing"));
  say("errors", await failure(r.incr("l")), await failure(r.call("NOSUCH", "x")));

  const pipe = r.pipeline();
  for (let i = 0; i < 100; ++i) pipe.set(`p:${i}`, i).get(`p:${i}`);
  const replies = await pipe.exec();
  say("pipeline", replies.length, replies[199]);
  say("at once", (await Promise.all([...Array(50).keys()].map((i) => r.get(`p:${i}`)))).join());

  say("transaction", await r.multi().incr("n").get("n").exec());
  await r.watch("n");
  await other.incr("n");
  say("watch", await r.multi().set("n", 0).exec(), await r.get("n"));
  say("discarded", await failure(r.multi().set("n").exec()));

  r.defineCommand("addTo", { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1])" });
  say("script", await r.addTo("n", 5), await r.addTo("n", 6));
  await r.script("FLUSH");
  say("script after flush", await r.addTo("n", 7));

  const listener = new Redis({ port, host, ...security });
  const heard = new Promise((resolve) => listener.on("message", (channel, text) => resolve([channel, text])));
  say("subscribed", await listener.subscribe("news"));
  await other.publish("news", "hello");
  say("heard", await heard);
  say("unsubscribed", await listener.unsubscribe("news"), await listener.get("a"));

  const worker = r.duplicate();
  const job = worker.blpop("jobs", "other", 20);
  await other.rpush("jobs", "one");
  say("queue", await job, await worker.blpop("jobs", 1));

  const keys = new Set();
  for await (const page of r.scanStream({ match: "p:*", count: 17 })) page.forEach((key) => keys.add(key));
  say("scan", keys.size);
  await r.xadd("x", "1-1", "f", "v");
  say("stream", await r.xrange("x", "-", "+"));

  say("kill", await other.client("KILL", "ID", await r.client("ID")));
  say("goes on", await r.get("a"));
  const elsewhere = new Redis({ host, port, ...security, db: 3, connectionName: "somebody" });
  say("another database", await elsewhere.get("a"), await elsewhere.client("GETNAME"));
  [r, other, listener, worker, elsewhere].forEach((each) => each.disconnect());
}
main().catch((error) => { console.error(error); process.exit(1); });
