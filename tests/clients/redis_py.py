"""python3-redis: what applications in Python do. Usage: redis_py.py HOST PORT; TLS with TLS_CA=FILE TLS_PASSWORD=..."""
import os
import sys
import threading

import redis

where = {"host": sys.argv[1], "port": int(sys.argv[2])}
pooled = {}
if "TLS_CA" in os.environ:
    where.update(ssl=True, ssl_ca_certs=os.environ["TLS_CA"], password=os.environ.get("TLS_PASSWORD"))
    pooled = {"connection_class": redis.SSLConnection}
r = redis.Redis(**where, decode_responses=True, health_check_interval=1)


def say(what, value):
    print(f"{what}: {value!r}", flush=True)


def types():
    r.flushall()
    say("set", r.set("a", "1", ex=100))
    say("get", r.get("a"))
    say("incr", [r.incr("n") for _ in range(3)])
    r.hset("h", mapping={"x": 1, "y": "zwei"})
    say("hgetall", sorted(r.hgetall("h").items()))
    r.rpush("l", *"abc")
    say("lrange", r.lrange("l", 0, -1))
    r.zadd("z", {"one": 1, "two": 2.5})
    say("zrange", r.zrange("z", 0, -1, withscores=True))
    r.sadd("s", "p", "q")
    say("smembers", sorted(r.smembers("s")))
    r.xadd("x", {"f": "v"}, id="1-1")
    say("xrange", r.xrange("x"))
    say("missing", [r.get("nothing"), r.mget("a", "nothing"), r.type("nothing"), r.ttl("nothing")])
    say("bytes", redis.Redis(**where).getrange("a", 0, -1))


def errors():
    for call in (lambda: r.incr("l"), lambda: r.execute_command("NOSUCH", "x"), lambda: r.execute_command("GET")):
        try:
            call()
        except redis.ResponseError as error:
            say("error", str(error))


def pipelines():
    with r.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.set(f"p:{number}", number).get(f"p:{number}")
        replies = pipe.execute()
    say("pipeline", (len(replies), replies[-4:]))
    with r.pipeline(transaction=False) as pipe:
        pipe.incr("l")
        pipe.get("a")
        say("pipeline with an error", [type(each).__name__ for each in pipe.execute(raise_on_error=False)])


def transactions():
    def transfer(pipe):
        balance = int(pipe.get("n"))
        pipe.multi()
        pipe.set("n", balance + 10)
        pipe.get("n")
    say("transaction", r.transaction(transfer, "n"))
    with r.pipeline() as pipe:
        pipe.watch("n")
        r.incr("n")
        pipe.multi()
        pipe.set("n", 0)
        try:
            say("unexpected", pipe.execute())
        except redis.WatchError as error:
            say("watch", type(error).__name__)
    say("after", r.get("n"))


def scripts():
    add = r.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    say("script", [add(keys=["n"], args=[5]), add(keys=["n"], args=[6])])
    r.script_flush()
    say("script after flush", add(keys=["n"], args=[7]))
    say("exists", r.script_exists(add.sha))
    say("read only", r.execute_command("EVAL_RO", "return redis.call('get', KEYS[1])", 1, "n"))
    try:
        r.eval("return redis.error_reply('MY own error')", 0)
    except redis.ResponseError as error:
        say("script error", str(error))


def pubsub():
    listener = r.pubsub()
    listener.subscribe("news")
    listener.psubscribe("n*")
    heard = [listener.get_message(timeout=10) for _ in range(2)]
    say("published", r.publish("news", "hello"))
    heard += [listener.get_message(timeout=10) for _ in range(2)]
    say("heard", sorted((m["type"], m["channel"], m["data"]) for m in heard))
    listener.unsubscribe()
    listener.punsubscribe()
    say("left", [listener.get_message(timeout=10)["type"] for _ in range(2)])
    listener.close()


def queue():
    done = []
    worker = threading.Thread(target=lambda: done.extend(r.blpop(["jobs", "other"], timeout=20) for _ in range(3)))
    worker.start()
    for number in range(3):
        r.rpush("jobs", number)
    worker.join(30)
    say("queue", done)
    say("timeout", r.blpop("jobs", timeout=1))


def scan():
    say("scan", len(set(r.scan_iter("p:*", count=17))))
    r.hset("big", mapping={f"f{n}": n for n in range(200)})
    say("hscan", len(dict(r.hscan_iter("big", count=13))))


def pools():
    place = {name: value for name, value in where.items() if name != "ssl"}
    pool = redis.BlockingConnectionPool(**place, **pooled, max_connections=4, decode_responses=True)
    shared, seen = redis.Redis(connection_pool=pool), []
    threads = [threading.Thread(target=lambda n=n: seen.append((n, shared.set(f"t:{n}", n), shared.get(f"t:{n}"))))
               for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    say("pool", (len(seen), all(got == str(n) for n, _, got in seen)))


def killed():
    own = redis.Redis(**where, decode_responses=True)
    own.client_setname("victim")
    say("name", own.client_getname())
    say("killed", r.client_kill_filter(_id=own.client_id()))
    say("goes on", own.get("a"))
    say("another database", redis.Redis(**where, db=3).get("a"))


for step in (types, errors, pipelines, transactions, scripts, pubsub, queue, scan, pools, killed):
    step()
