"""WAITAOF: how many have the caller's write on disk. Beside a stock server that knows it (7.2 and later)."""

import pytest

from harness import server_binaries, server_version, wait_for
from resp_client import same_reply

KNOW_IT = [path for path in server_binaries() if server_version(path) >= (7, 2, 0)]


@pytest.fixture(params=KNOW_IT or [None], ids=lambda path: path.rsplit("/", 1)[-1] if path else "none")
def newer(request):
    if request.param is None:
        pytest.skip("no server of 7.2 or later in SIDESTREAM_TEST_SERVERS")
    return request.param


def side(lab, name, binary, instance, **aof):
    primary, replica = lab.server(binary=binary, name=name, **aof), lab.server(binary=binary, name=f"{name}-r", **aof)
    front = lab.instance([primary, replica]) if instance else primary
    if not instance:
        replica.replicaof(primary)
    replica.wait_link()
    wait_for(lambda: "state=online" in front.info().get("slave0", ""), 10, "its replica")
    return front, primary, replica


@pytest.fixture
def sides(lab, subject, newer):
    def make(**aof):
        return side(lab, "stock", newer, False, **aof), side(lab, "other", newer, subject == "instance", **aof)
    return make


ARGUMENTS = [("2", "0", "0"), ("-1", "0", "0"), ("x", "0", "0"), ("0", "-1", "0"), ("0", "x", "0"), ("0", "0", "x"),
             ("0", "0", "-1"), ("0", "0"), ("1", "0", "10"), ("0", "0", "0")]


def test_arguments_without_aof(sides):
    (stock, *_), (other, *_) = sides()
    with stock.client() as expected, other.client() as actual:
        for arguments in ARGUMENTS:
            same_reply(expected, actual, "WAITAOF", *arguments)
        for client in (expected, actual):
            client("SET", "k", "v")
        same_reply(expected, actual, "WAITAOF", "0", "0", "0")
        same_reply(expected, actual, "WAITAOF", "0", "1", "200")


def test_synced_here_and_there(sides):
    (stock, *_), (other, _, replica) = sides(appendonly="yes", appendfsync="always")
    with stock.client(timeout=60) as expected, other.client(timeout=60) as actual:
        same_reply(expected, actual, "WAITAOF", "1", "1", "20000")
        for client in (expected, actual):
            client("SET", "k", "v")
        assert same_reply(expected, actual, "WAITAOF", "1", "1", "20000") == b"*2\r\n:1\r\n:1\r\n"
        for client in (expected, actual):
            client("MULTI"), client("INCR", "n"), client("WAITAOF", "1", "1", "20000")
            assert client("EXEC")[0] == 1
        assert client("SET", "k", "w") == "OK"
        replica.pause()
        client("SET", "k", "x")
        assert client.raw("WAITAOF", "1", "1", "300") == b"*2\r\n:1\r\n:0\r\n", "in time, without the replica"
        client.send("WAITAOF", "0", "1", "0")
        assert client.silent_for(0.3)
        replica.resume()
        assert client.read() == [1, 1]


def test_a_primary_that_has_not_synced(sides):
    """With appendfsync no nothing is synced before the system does it by itself."""
    (stock, *_), (other, *_) = sides(appendonly="yes", appendfsync="no")
    with stock.client() as expected, other.client() as actual:
        for client in (expected, actual):
            client("SET", "k", "v")
        same_reply(expected, actual, "WAITAOF", "1", "0", "300")
        for server in (stock, other):
            server("CONFIG", "SET", "appendfsync", "always")
        for client in (expected, actual):
            client("SET", "k", "w")
        same_reply(expected, actual, "WAITAOF", "1", "0", "20000")


def test_on_a_replica(lab, sides):
    (stock, *_), (other, *_) = sides()
    top = lab.server(binary=stock.binary, name="top")
    for front in (stock, other):
        front("REPLICAOF", "127.0.0.1", top.port)
    with stock.client() as expected, other.client() as actual:
        same_reply(expected, actual, "WAITAOF", "0", "0", "0")
