"""Clients that need a connection of their own: blocking, transactions, Pub/Sub, MONITOR, tracking; and cursors."""

import time

import pytest

from harness import stays, wait_for
from resp_client import Push, encode, same_reply


def test_blocking_pops_are_served_in_order_of_arrival(pair, sides):
    first, second = pair.front.client(), pair.front.client()
    first.send("BLPOP", "queue", 10)
    wait_for(lambda: blocked(pair) == 1, 5, "one blocked client")
    second.send("BLPOP", "queue", 10)
    wait_for(lambda: blocked(pair) == 2, 5, "two blocked clients")
    sides[1]("RPUSH", "queue", "a", "b")
    assert (first.read(), second.read()) == ([b"queue", b"a"], [b"queue", b"b"])
    assert first("PING") == "PONG"


def blocked(pair):
    return int(pair.nodes[0].info("clients")["blocked_clients"])


def test_nothing_is_popped_for_a_client_that_has_gone(pair, sides):
    ghost = pair.front.client()
    ghost.send("BRPOP", "queue", 0)
    wait_for(lambda: blocked(pair) == 1, 5, "the blocked client at the primary")
    ghost.close()
    wait_for(lambda: blocked(pair) == 0, 5, "the primary to forget it")
    sides[1]("RPUSH", "queue", "job")
    assert sides[1]("LRANGE", "queue", 0, -1) == [b"job"]


def test_timeouts_and_null_forms(sides):
    for protocol in (2, 3):
        for side in sides:
            side("HELLO", protocol)
        for command in (("BLPOP", "q", "0.01"), ("BRPOPLPUSH", "q", "r", "0.01"),
                        ("BLMOVE", "q", "r", "LEFT", "LEFT", "0.01"), ("BZPOPMIN", "q", "0.01"),
                        ("XREAD", "BLOCK", "10", "STREAMS", "x", "$"), ("BLPOP", "q", "-1"),
                        ("BLPOP", "q", "x"), ("BLMPOP", "0.01", "1", "q", "LEFT")):
            same_reply(*sides, *command)


def test_a_blocked_client_does_not_delay_others(pair, sides):
    waiting = [pair.front.client() for _ in range(20)]
    for client in waiting:
        client.send("BLPOP", "nothing-comes", 10)
    begin = time.monotonic()
    for number in range(100):
        sides[1]("SET", "k", number)
        assert sides[1]("GET", "k") == b"%d" % number
    assert time.monotonic() - begin < 5
    sides[1]("RPUSH", "nothing-comes", *range(20))
    assert sorted(int(client.read()[1]) for client in waiting) == list(range(20))


def test_commands_pipelined_behind_a_blocking_one(pair, sides):
    client = pair.front.client()
    client.send_raw(b"SET k before\r\nBLPOP q 5\r\nGET k\r\n")
    assert client.read() == "OK"
    wait_for(lambda: blocked(pair) == 1, 5, "the blocked client")
    sides[1]("SET", "k", "after")
    sides[1]("RPUSH", "q", "x")
    assert [client.read(), client.read()] == [[b"q", b"x"], b"after"]


def test_xread_block_wakes_up(pair, sides):
    client = pair.front.client()
    client.send("XREAD", "BLOCK", 10000, "STREAMS", "x", "$")
    wait_for(lambda: sum(int(n.info("clients")["blocked_clients"]) for n in pair.nodes) == 1, 5, "the blocked client")
    sides[1]("XADD", "x", "1-1", "f", "v")
    assert client.read() == [[b"x", [[b"1-1", [b"f", b"v"]]]]]


def test_watch_sees_other_clients(pair, sides):
    client, other = pair.front.client(), sides[1]
    client("SET", "k", "1")
    client("WATCH", "k")
    other("SET", "k", "2")
    assert client.pipeline([("MULTI",), ("SET", "k", "3"), ("EXEC",)])[-1] is None
    client("WATCH", "k")
    assert client.pipeline([("MULTI",), ("SET", "k", "4"), ("EXEC",)])[-1] == ["OK"]
    assert other("GET", "k") == b"4"
    client("WATCH", "k")
    client("UNWATCH")
    other("SET", "k", "5")
    assert client.pipeline([("MULTI",), ("GET", "k"), ("EXEC",)])[-1] == [b"5"]


def test_transactions_of_many_clients_do_not_mix(pair, sides):
    clients = [pair.front.client() for _ in range(8)]
    for client in clients:
        client("MULTI")
    for number, client in enumerate(clients):
        assert client("INCRBY", f"n{number}", number) == "QUEUED"
        assert client("GET", f"n{number}") == "QUEUED"
    for number, client in enumerate(clients):
        assert client("EXEC") == [number, b"%d" % number]


def test_a_transaction_abandoned_half_way_does_nothing(pair, sides):
    client = pair.front.client()
    client("MULTI")
    client("SET", "half", "1")
    client.close()
    assert sides[1]("GET", "half") is None
    assert sides[1].pipeline([("MULTI",), ("GET", "half"), ("EXEC",)])[-1] == [None]


@pytest.mark.parametrize("protocol", [2, 3])
def test_publish_and_subscribe(pair, sides, protocol):
    clients = pair.clients(protocol=protocol)
    for client in clients:
        client.send("SUBSCRIBE", "a", "b")
        client.send("PSUBSCRIBE", "n*")
    for _ in range(3):
        want, got = clients[0].read_raw(), clients[1].read_raw()
        assert got == want
    for side in sides:
        for channel in ("a", "news", "silence", "b"):
            side("PUBLISH", channel, "message")
    for _ in range(3):
        want, got = clients[0].read_raw(), clients[1].read_raw()
        assert got == want
    assert pair.front("PUBSUB", "NUMSUB", "a") == [b"a", 1]
    for command in (("PING",), ("PING", "x"), ("GET", "k"), ("UNSUBSCRIBE", "a"), ("UNSUBSCRIBE", "zz"),
                    ("PUNSUBSCRIBE", "n*"), ("UNSUBSCRIBE", "b"), ("GET", "k"), ("PING",)):
        same_reply(*clients, *command)


def test_publish_counts_and_reaches_subscribers_everywhere(pair, sides):
    subscribers = [pair.front.client() for _ in range(3)]
    for client in subscribers:
        client("SUBSCRIBE", "room")
    assert sides[1]("PUBLISH", "room", "hello") == 3
    for client in subscribers:
        assert client.read() == [b"message", b"room", b"hello"]
    for client in subscribers:
        client.close()
    wait_for(lambda: sides[1]("PUBLISH", "room", "x") == 0, 5, "the subscriptions to be gone")


def test_a_message_never_overtakes_the_write_before_it(pair, sides):
    """SUBSCRIBE then GET: whoever gets the message sees what was written before it was published."""
    listener, reader = pair.front.client(), pair.front.client()
    listener("SUBSCRIBE", "ready")
    for number in range(300):
        sides[1].send_raw(b"SET result %d\r\nPUBLISH ready %d\r\n" % (number, number))
        assert listener.read()[2] == b"%d" % number
        assert int(reader("GET", "result")) >= number
        assert (sides[1].read(), sides[1].read()) == ("OK", 1)


def test_sharded_subscriptions(pair, sides):
    clients = pair.clients()
    same_reply(*clients, "SSUBSCRIBE", "shard")
    for side in sides:
        assert side("SPUBLISH", "shard", "m") == 1
    assert clients[1].read_raw() == clients[0].read_raw()
    same_reply(*clients, "SUNSUBSCRIBE", "shard")


def test_reset_leaves_subscriptions(pair, sides):
    clients = pair.clients()
    same_reply(*clients, "SUBSCRIBE", "a")
    same_reply(*clients, "RESET")
    same_reply(*clients, "GET", "k")


def test_monitor(pair, sides):
    monitor = pair.front.client()
    assert monitor("MONITOR") == "OK"
    sides[1]("SET", "watched-by-monitor", "x")
    seen = []
    while not any("watched-by-monitor" in line for line in seen):
        seen.append(monitor.read())
    assert seen[-1].split("] ")[1] == '"SET" "watched-by-monitor" "x"'


def invalidations(client, count):
    found = []
    while len(found) < count:
        value = client.read()
        if isinstance(value, Push) and value[0] == b"invalidate":
            found += value[1] or [None]
    return found


def test_tracking_invalidates_what_was_read(pair, sides):
    cache = pair.front.client(protocol=3)
    sides[1].pipeline([("SET", "a", "1"), ("SET", "b", "1")])
    assert cache("CLIENT", "TRACKING", "ON") == "OK"
    assert (cache("GET", "a"), cache("GET", "b")) == (b"1", b"1")
    sides[1]("SET", "a", "2")
    assert invalidations(cache, 1) == [b"a"]
    assert cache("GET", "a") == b"2", "the read after the invalidation is not older than it"
    sides[1]("FLUSHALL")
    assert invalidations(cache, 1) == [None]
    assert cache("CLIENT", "TRACKING", "OFF") == "OK"
    cache("GET", "a")
    sides[1]("SET", "a", "3")
    assert cache.silent_for(0.2)


def test_tracking_by_prefix(pair, sides):
    cache = pair.front.client(protocol=3)
    assert cache("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "user:") == "OK"
    sides[1].pipeline([("SET", "user:1", "x"), ("SET", "other", "x"), ("SET", "user:2", "x")])
    assert sorted(invalidations(cache, 2)) == [b"user:1", b"user:2"]


def test_tracking_under_races_never_leaves_a_stale_entry(pair, sides):
    """A cache that believes the messages in the order in which they come always ends with the last value."""
    client, writer, cached = pair.front.client(protocol=3), sides[1], {}
    client("CLIENT", "TRACKING", "ON")

    def take():
        value = client.read()
        if isinstance(value, Push):
            cached.clear()
        else:
            cached["k"] = value
        return value
    for number in range(300):
        writer.send("SET", "k", number)
        client.send("GET", "k")
        while isinstance(take(), Push):
            pass
        assert writer.read() == "OK"
    while cached.get("k", b"299") != b"299":
        take()                               # the invalidation has to come, within the client's timeout


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_scan_is_complete(pair, sides, count):
    keys = {b"key:%d" % n for n in range(3000)}
    sides[1].pipeline([("SET", key, "x") for key in sorted(keys)])
    clients = [pair.front.client() for _ in range(3)]
    found, cursor, turn = set(), b"0", 0
    while True:
        # other clients' commands in between, and a cursor that moves between connections of one pool
        cursor, batch = clients[turn % 3]("SCAN", cursor, "COUNT", count)
        found |= set(batch)
        turn += 1
        if cursor == b"0":
            break
        assert int(cursor) < 1 << 64 and turn < 5000
    assert found == keys


def test_hscan_sscan_zscan_are_complete(pair, sides):
    members = {b"m%d" % n for n in range(2000)}
    sides[1]("HSET", "h", *[word for m in members for word in (m, "v")])
    sides[1]("SADD", "s", *members)
    sides[1]("ZADD", "z", *[word for m in members for word in (1, m)])
    for name, key, step in (("HSCAN", "h", 2), ("SSCAN", "s", 1), ("ZSCAN", "z", 2)):
        found, cursor = set(), 0
        while True:
            cursor, batch = sides[1](name, key, cursor, "COUNT", 100)
            found |= set(batch[::step])
            if cursor == b"0":
                break
        assert found == members


def test_client_identity(pair):
    one, two = pair.front.client(), pair.front.client()
    assert isinstance(one("CLIENT", "ID"), int) and one("CLIENT", "ID") != two("CLIENT", "ID")
    assert one("CLIENT", "ID") < two("CLIENT", "ID")
    one("CLIENT", "SETNAME", "first")
    assert (one("CLIENT", "GETNAME"), two("CLIENT", "GETNAME")) == (b"first", None)
    info = dict(word.split("=", 1) for word in one("CLIENT", "INFO").decode().split())
    port = one.socket.getsockname()[1]
    assert (info["name"], info["addr"], info["db"], info["resp"], info["cmd"]) == \
           ("first", f"127.0.0.1:{port}", "0", "2", "client|info")
    stock_info = dict(w.split("=", 1) for w in pair.stock("CLIENT", "INFO").decode().split())
    assert list(info) == list(stock_info)
    one("RESET")
    assert one("CLIENT", "GETNAME") is None


def test_scripts_loaded_once_work_on_every_connection(pair, sides):
    sha = sides[1]("SCRIPT", "LOAD", "return redis.call('incr', KEYS[1])")
    for number in range(1, 20):
        with pair.front.client() as client:
            assert client("EVALSHA", sha, 1, "n") == number
    sha = sides[1]("SCRIPT", "LOAD", "return redis.call('get', KEYS[1])")
    for _ in range(20):
        with pair.front.client() as client:
            assert client("EVALSHA_RO", sha, 1, "n") == b"19"


def test_a_slow_script_blocks_nobody_for_ever(pair, sides):
    slow = pair.front.client(timeout=20)
    for node in pair.nodes:
        node("CONFIG", "SET", "busy-reply-threshold", 100)
    slow.send("EVAL", "while true do end", 0)
    wait_for(lambda: sides[1].raw("SET", "k", "v").startswith(b"-BUSY"), 10, "the primary to be busy")
    stays(lambda: sides[1].raw("SET", "k", "v").startswith(b"-BUSY"), 3, "busy, not taken for dead")
    assert wait_for(lambda: sides[1]("SCRIPT", "KILL"), 5, "SCRIPT KILL") == "OK"
    assert slow.read_raw().startswith(b"-ERR")
    assert wait_for(lambda: sides[1]("SET", "k", "v"), 5, "writes again") == "OK"
    wait_for(lambda: sides[1]("PING") == "PONG", 5, "PING, which tells the node's own last answer, to be well again")


def test_many_connections_come_and_go(pair, sides):
    for _ in range(10):
        clients = [pair.front.client() for _ in range(50)]
        for client in clients[::2]:
            client.send("GET", "k")
        for client in clients[1::2]:
            assert client("PING") == "PONG"
        for client in clients:
            client.close()
    assert sides[1]("SET", "k", "v") == "OK"


def test_resp3_confirmations_keep_their_place_among_replies(pair, sides):
    """SUBSCRIBE and friends answer by push, but in the order of the requests."""
    clients = pair.clients(protocol=3)
    for client in clients:
        client.send_raw(b"".join(encode(*c) for c in [
            ("GET", "never-written"), ("SUBSCRIBE", "a"), ("GET", "never-written"), ("SET", "k", "v"),
            ("UNSUBSCRIBE", "a"), ("GET", "k"), ("PING",), ("SUBSCRIBE", "b", "c"), ("INCR", "n"), ("UNSUBSCRIBE",)]))
    replies = [[client.read_raw() for _ in range(12)] for client in clients]
    assert replies[1][:10] == replies[0][:10]
    assert {reply.split()[2] for reply in replies[1][10:]} == {b"unsubscribe"}     # in no order
