"""MULTI with everything in it: commands of the server's and of the proxy's own side by side, as stock."""

import pytest

from resp_client import encode

MIXED = {
    "ours between data": [("MULTI",), ("SET", "k", "1"), ("CLIENT", "SETNAME", "me"), ("INCR", "k"),
                          ("CONFIG", "GET", "databases"), ("GET", "k"), ("CLIENT", "GETNAME"), ("EXEC",)],
    "ours first": [("MULTI",), ("CLIENT", "GETNAME"), ("SET", "k", "1"), ("EXEC",), ("GET", "k")],
    "ours last": [("MULTI",), ("SET", "k", "1"), ("CLIENT", "NO-EVICT", "ON"), ("EXEC",), ("GET", "k")],
    "ours alone": [("MULTI",), ("CLIENT", "GETNAME"), ("PING",), ("ECHO", "x"), ("EXEC",)],
    "wait": [("SET", "k", "1"), ("MULTI",), ("SET", "k", "2"), ("WAIT", "0", "0"), ("GET", "k"), ("EXEC",)],
    "wrong number of arguments of ours": [("MULTI",), ("SET", "k", "1"), ("CLIENT", "SETNAME"), ("EXEC",),
                                          ("GET", "k")],
    "an error of ours while running": [("MULTI",), ("SET", "k", "1"), ("CLIENT", "SETNAME", "a b"), ("GET", "k"),
                                       ("CONFIG", "SET", "nosuch", "1"), ("EXEC",), ("GET", "k")],
    "an error of the server's": [("MULTI",), ("CLIENT", "SETNAME", "x"), ("GET",), ("EXEC",), ("CLIENT", "GETNAME")],
    "unknown": [("MULTI",), ("CLIENT", "SETNAME", "x"), ("NOSUCH",), ("EXEC",), ("CLIENT", "GETNAME")],
    "discard": [("MULTI",), ("SET", "k", "1"), ("CLIENT", "SETNAME", "x"), ("DISCARD",), ("CLIENT", "GETNAME"),
                ("EXISTS", "k")],
    "hello": [("MULTI",), ("HELLO",), ("EXEC",)],
    "auth": [("MULTI",), ("AUTH", "x"), ("GET", "k"), ("EXEC",)],
    "select": [("MULTI",), ("SELECT", "3"), ("SET", "k", "in3"), ("CLIENT", "GETNAME"), ("EXEC",), ("GET", "k")],
    "monitor": [("MULTI",), ("MONITOR",), ("EXEC",), ("PING",)],
    "what is never inside": [("MULTI",), ("PSYNC", "?", "-1"), ("EXEC",), ("MULTI",), ("SHUTDOWN", "NOSUCH"),
                             ("EXEC",)],
    "many": [("MULTI",), *[(("INCR", "n") if i % 3 else ("CLIENT", "GETNAME")) for i in range(200)], ("EXEC",)],
    "null in the middle": [("MULTI",), ("GET", "nosuch"), ("CLIENT", "GETNAME"), ("LPOP", "nosuch", "2"),
                           ("BLPOP", "nosuch", "0"), ("CLIENT", "GETNAME"), ("HGETALL", "nosuch"), ("EXEC",)],
    "tracking": [("MULTI",), ("CLIENT", "TRACKING", "ON"), ("CLIENT", "GETREDIR"), ("SET", "k", "1"), ("EXEC",),
                 ("CLIENT", "TRACKING", "OFF"), ("GET", "k")],
    "scripts": [("MULTI",), ("EVAL", "return redis.call('incr', KEYS[1])", "1", "n"), ("SCRIPT", "LOAD", "return 5"),
                ("EVALSHA", "4ca238f611c9d0ae4e9a75a5dbac22aedc1e44ea", "0"), ("EXEC",)],
}


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("pipelined", [False, True], ids=["one by one", "pipelined"])
@pytest.mark.parametrize("name", MIXED)
def test_a_transaction_may_hold_anything(pair, sides, name, pipelined, protocol):
    clients = pair.clients(protocol=protocol)
    replies = []
    for client in clients:
        batch = [tuple(word for word in command) for command in MIXED[name]]
        if pipelined:
            replies.append(client.pipeline_raw(batch))
        else:
            replies.append([client.raw(*command) for command in batch])
    if name == "hello":
        replies = [[reply.split(b"\r\n$2\r\nid\r\n")[0] for reply in side] for side in replies]
    assert replies[1] == replies[0]


def test_watch_holds_for_commands_of_ours_too(pair, sides):
    results = []
    for client, other in zip(pair.clients(), sides):
        client("SET", "k", "1")
        client("WATCH", "k")
        other("SET", "k", "2")
        results.append(client.pipeline_raw([("MULTI",), ("CLIENT", "SETNAME", "x"), ("EXEC",), ("CLIENT", "GETNAME"),
                                            ("WATCH", "k"), ("MULTI",), ("CLIENT", "SETNAME", "y"), ("EXEC",),
                                            ("CLIENT", "GETNAME")]))
    assert results[1] == results[0]


def test_hello_switches_the_protocol_behind_a_transaction(pair, sides):
    for client in pair.clients():
        replies = client.pipeline([("MULTI",), ("SET", "k", "v"), ("HELLO", "3"), ("EXEC",), ("HGETALL", "nosuch")])
        assert replies[3][0] == "OK" and replies[3][1][b"proto"] == 3
        assert replies[4] == {}


def test_tracking_begun_inside_a_transaction_stays_the_clients_own(pair, sides):
    client = pair.front.client(protocol=3)
    client.pipeline([("MULTI",), ("CLIENT", "TRACKING", "ON"), ("EXEC",)])
    client("GET", "k")
    others = [pair.front.client(protocol=3) for _ in range(4)]
    for other in others:
        other.pipeline([("MULTI",), ("GET", "k"), ("EXEC",)])
    sides[1]("SET", "k", "1")
    assert client.read() == [b"invalidate", [b"k"]]
    for other in others:
        assert other("PING") == "PONG"


def test_a_client_that_leaves_in_the_middle_of_a_mixed_one_harms_nobody(pair, sides):
    for cut in (1, 2, 3, 4):
        with pair.front.client() as client:
            client.send_raw(b"".join(encode(*c) for c in MIXED["ours between data"][:cut]))
    assert sides[1].pipeline([("MULTI",), ("SET", "k", "x"), ("EXEC",)])[-1] == ["OK"]
