"""A mixed load: three databases, all value types, MULTI, Lua, expires and large values; commands of Redis 5 on.

Happy path: `with Load(port) as load: ...` writes until the block ends; load.operations says how much.
Failure modes: an error reply or a broken connection stops the thread and is raised when the block ends.
"""

import random
import threading

from resp_client import ReplyError, RespClient

LUA = "redis.call('set', KEYS[1], ARGV[1]) redis.call('incr', KEYS[2]) return redis.call('hset', KEYS[3], 'f', ARGV[1])"


def commands(rng, large=1 << 20):
    """One batch: commands of every kind on random keys."""
    def key(kind):
        return f"{kind}:{rng.randrange(200)}"

    value = f"v{rng.getrandbits(64):x}" * rng.randrange(1, 8)
    batch = [
        ("SELECT", rng.randrange(3)),
        ("SET", key("s"), value), ("APPEND", key("s"), "x"), ("INCR", key("n")), ("SETRANGE", key("s"), 3, "yy"),
        ("INCRBYFLOAT", key("f"), "0.5"), ("SETBIT", key("b"), rng.randrange(500), 1), ("PFADD", key("p"), value),
        ("RPUSH", key("l"), value, "a", "b"), ("LPOP", key("l")), ("LTRIM", key("l"), 0, 50),
        ("SADD", key("set"), value, rng.randrange(100)), ("SPOP", key("set")),
        ("HSET", key("h"), f"f{rng.randrange(20)}", value), ("HINCRBY", key("hn"), "f", 1),
        ("ZADD", key("z"), rng.random(), value), ("ZREMRANGEBYRANK", key("z"), 50, -1),
        ("XADD", key("x"), "MAXLEN", "50", "*", "f", value),
        ("GEOADD", key("g"), rng.uniform(-90, 90), rng.uniform(-80, 80), "place"),
        ("SET", key("e"), value, "PX", rng.randrange(50, 5000)), ("PEXPIRE", key("s"), rng.randrange(500, 9000)),
        ("GETSET", key("e"), value), ("DEL", key("s"), key("h")), ("RENAME", *[_copy_target(rng)] * 2),
        ("MULTI",), ("SET", key("s"), value), ("SELECT", rng.randrange(3)), ("LPUSH", key("l"), value), ("EXEC",),
        ("EVAL", LUA, 3, key("s"), key("n"), key("hl"), value),
        ("PUBLISH", "news", value),
    ]
    if large and rng.random() < 0.02:
        batch.append(("SET", f"big:{rng.randrange(5)}", bytes([rng.randrange(256)]) * large))
    return batch


def _copy_target(rng):
    return f"s:{rng.randrange(200)}"


def check(replies):
    for reply in replies:
        # RENAME of a missing key is part of the mix.
        if isinstance(reply, ReplyError) and "no such key" not in str(reply):
            raise reply


class Load:
    """Writes to `port` from `threads` connections. `pause`: seconds between batches."""

    def __init__(self, port, threads=1, pause=0.005, seed=1, large=1 << 20, retry=False):
        self.port, self.pause, self.large, self.retry = port, pause, large, retry
        self.operations, self.error = 0, None
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed + n,), daemon=True) for n in range(threads)]

    def _run(self, seed):
        rng = random.Random(seed)
        try:
            with RespClient(self.port, timeout=20) as client:
                while not self._stop.is_set():
                    check(client.pipeline(commands(rng, self.large)))
                    self.operations += 1
                    self._stop.wait(self.pause)
        except (OSError, ReplyError, AssertionError) as error:
            self.error = error

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "the load thread hangs"
        if self.error:
            raise AssertionError(f"the load stopped: {self.error!r}") from self.error

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self._stop.set()


PERSIST_ALL = "for _, key in ipairs(redis.call('keys', '*')) do redis.call('persist', key) end"


def fill(client, megabytes=4, databases=3):
    """A dataset of about that size with keys of all types; nothing in it expires."""
    rng = random.Random(7)
    for _ in range(10):
        check(client.pipeline(commands(rng, large=0)))
    for number in range(databases):
        client("SELECT", number)
        client("EVAL", PERSIST_ALL, 0)
        count = megabytes * 1024 * 1024 // databases // 1000
        check(client.pipeline([("SET", f"fill:{n}", rng.randbytes(1000)) for n in range(count)]))
    client("SELECT", 0)
