"""CLIENT TRACKING through an instance: the same messages as from one server, though reads are split otherwise."""

import pytest

from harness import wait_for
from resp_client import Push, ReplyError, same_reply


def next_invalidation(client):
    """The keys of the next message, in either protocol."""
    value = client.read()
    assert isinstance(value, Push) or value[0] == b"message", value
    return value[-1]


def test_texts_and_information_equal_stock(pair, sides):
    for protocol in (2, 3):
        clients = pair.clients(protocol=protocol)
        for command in (("CLIENT", "TRACKING"), ("CLIENT", "TRACKING", "x"), ("CLIENT", "TRACKING", "ON", "NOSUCH"),
                        ("CLIENT", "TRACKING", "ON", "OPTIN", "OPTOUT"), ("CLIENT", "TRACKING", "ON", "PREFIX", "a"),
                        ("CLIENT", "TRACKING", "ON", "REDIRECT", "999999"),
                        ("CLIENT", "TRACKING", "ON", "REDIRECT", "x"),
                        ("CLIENT", "TRACKING", "ON", "REDIRECT"), ("CLIENT", "GETREDIR"), ("CLIENT", "TRACKINGINFO"),
                        ("CLIENT", "CACHING", "YES"), ("CLIENT", "CACHING", "x"), ("CLIENT", "TRACKING", "OFF"),
                        ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a", "PREFIX", "redirect"),
                        ("CLIENT", "TRACKINGINFO"), ("CLIENT", "GETREDIR"), ("CLIENT", "TRACKING", "ON"),
                        ("CLIENT", "TRACKING", "OFF"), ("CLIENT", "GETREDIR"), ("CLIENT", "TRACKING", "ON", "OPTIN"),
                        ("CLIENT", "CACHING", "YES"), ("CLIENT", "CACHING", "NO"), ("CLIENT", "TRACKINGINFO"),
                        ("CLIENT", "TRACKING", "ON", "OPTOUT", "NOLOOP"), ("CLIENT", "TRACKING", "OFF"),
                        ("CLIENT", "TRACKINGINFO"), ("GET", "k")):
            same_reply(*clients, *command)


@pytest.mark.parametrize("order", ["subscribed before", "subscribed after"])
def test_redirect_to_a_client_that_subscribed(pair, sides, order):
    listener, reader, writer = pair.front.client(), pair.front.client(), sides[1]
    identity = listener("CLIENT", "ID")
    if order == "subscribed before":
        listener("SUBSCRIBE", "__redis__:invalidate")
    assert reader("CLIENT", "TRACKING", "ON", "REDIRECT", identity) == "OK"
    if order == "subscribed after":
        listener("SUBSCRIBE", "__redis__:invalidate")
    assert reader("CLIENT", "GETREDIR") == identity
    information = reader("CLIENT", "TRACKINGINFO")
    assert information[information.index(b"redirect") + 1] == identity
    assert f"redir={identity} ".encode() in reader("CLIENT", "INFO")
    for number in range(5):
        reader("GET", "k")
        writer("SET", "k", number)
        assert next_invalidation(listener) == [b"k"]
    writer("FLUSHALL")
    assert next_invalidation(listener) is None
    assert reader("CLIENT", "TRACKING", "OFF") == "OK"
    reader("GET", "k")
    writer("SET", "k", "x")
    assert listener.silent_for(0.2)


def test_redirect_to_a_resp3_client_and_its_end(pair, sides):
    listener, reader, writer = pair.front.client(protocol=3), pair.front.client(protocol=3), sides[1]
    assert reader("CLIENT", "TRACKING", "ON", "REDIRECT", listener("CLIENT", "ID"), "BCAST") == "OK"
    writer("SET", "k", "1")
    assert next_invalidation(listener) == [b"k"]
    assert listener("SUBSCRIBE", "a") == [b"subscribe", b"a", 1]
    assert listener("UNSUBSCRIBE", "a") == [b"unsubscribe", b"a", 0]
    writer("SET", "k", "2")
    assert next_invalidation(listener) == [b"k"]
    listener.close()

    def broken():
        writer("SET", "k", "3")
        return not reader.silent_for(0.05)
    wait_for(broken, 10, "a message that the redirection is broken")
    assert reader.read()[0] == b"tracking-redir-broken"


def test_optin_optout_and_noloop(pair, sides):
    client, writer = pair.front.client(protocol=3), sides[1]
    client("CLIENT", "TRACKING", "ON", "OPTIN")
    client("GET", "a")
    client("CLIENT", "CACHING", "YES")
    client("GET", "b")
    writer.pipeline([("SET", "a", "1"), ("SET", "b", "1")])
    assert next_invalidation(client) == [b"b"]
    assert client("CLIENT", "TRACKING", "OFF") == "OK"
    client("CLIENT", "TRACKING", "ON", "NOLOOP")
    client("GET", "c")
    assert client("SET", "c", "mine") == "OK"
    client("GET", "c")
    writer("SET", "c", "theirs")
    assert next_invalidation(client) == [b"c"]


def test_off_gives_the_connection_back_and_reads_spread_again(pair, sides):
    client = pair.front.client(protocol=3)
    replicas = pair.nodes[1:]

    def on_replicas():
        return sum(node.calls("getrange") for node in replicas)
    client("CLIENT", "TRACKING", "ON")
    before = on_replicas()
    for _ in range(20):
        client("GETRANGE", "never-written", 0, 1)
    assert on_replicas() == before
    client("CLIENT", "TRACKING", "OFF")

    def spread():
        client("GETRANGE", "never-written", 0, 1)
        return not replicas or on_replicas() > before
    wait_for(spread, 10, "reads on replicas again")


def test_asking_alone_takes_no_connection_for_good(pair, sides):
    client = pair.front.client()
    for command in (("CLIENT", "GETREDIR"), ("CLIENT", "TRACKINGINFO"), ("CLIENT", "TRACKING", "OFF")):
        client(*command)
    with pytest.raises(ReplyError):
        client("CLIENT", "CACHING", "YES")
    replicas = pair.nodes[1:]
    before = sum(node.calls("getrange") for node in replicas)

    def spread():
        client("GETRANGE", "never-written", 0, 1)
        return not replicas or sum(node.calls("getrange") for node in replicas) > before
    wait_for(spread, 10, "reads on replicas")


def test_tracking_with_watch_and_blocking(pair, sides):
    client, writer = pair.front.client(protocol=3), sides[1]
    client("CLIENT", "TRACKING", "ON")
    client("WATCH", "k")
    assert client.pipeline([("MULTI",), ("GET", "k"), ("EXEC",)])[-1] == [None]
    writer("SET", "k", "1")
    assert next_invalidation(client) == [b"k"]
    client("WATCH", "k")
    assert client("CLIENT", "TRACKING", "OFF") == "OK"
    writer("SET", "k", "2")
    assert client.pipeline([("MULTI",), ("GET", "k"), ("EXEC",)])[-1] is None
    client.send("BLPOP", "q", 5)
    writer("RPUSH", "q", "x")
    assert client.read() == [b"q", b"x"]


@pytest.mark.parametrize("protocol", [2, 3])
def test_monitor_beside_subscriptions(pair, sides, protocol):
    client = pair.front.client(protocol=protocol)
    assert client("MONITOR") == "OK"
    client.send("SUBSCRIBE", "room")
    seen = []

    def until(wanted):
        while not any(wanted(each) for each in seen):
            seen.append(client.read())
    until(lambda v: isinstance(v, list) and v[0] == b"subscribe")
    sides[1]("PUBLISH", "room", "hello")
    until(lambda v: isinstance(v, list) and v[0] == b"message")
    sides[1]("SET", "seen", "x")
    until(lambda v: isinstance(v, str) and '"SET" "seen"' in v)
    client.send("RESET")
    until(lambda v: v == "RESET")
    assert client("GET", "seen") == b"x"


def test_monitor_and_subscriptions_at_once_in_resp3(pair, sides):
    clients = pair.clients(protocol=3)
    same_reply(*clients, "SUBSCRIBE", "room")
    same_reply(*clients, "GET", "k")
    same_reply(*clients, "MONITOR")
