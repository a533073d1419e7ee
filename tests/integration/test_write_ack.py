"""write-ack: quorum:N: the reply to a write waits until N replicas have applied it."""

import pytest

from fault_proxy import FaultProxy
from harness import HOST, free_port, wait_for
from resp_client import ReplyError, RespClient

LATE = b"-NOACK The write was executed at the primary but not acknowledged: "


@pytest.fixture
def scene(lab, binary):
    """(instance, primary, two replicas)"""
    servers = lab.servers(3, repl_ping_replica_period=3600)
    instance = lab.instance(servers, write_ack="quorum:2", write_ack_timeout="20s")
    return instance, servers[0], servers[1:]


def timeout(instance, ms):
    assert instance("CONFIG", "SET", "write-ack-timeout", f"{ms}ms") == "OK"


WRITES = [
    [("SET", "k", "v")], [("MULTI",), ("SET", "k", "v"), ("INCR", "n"), ("EXEC",)],
    [("EVAL", "return redis.call('SET', KEYS[1], 'v')", "1", "k")], [("LPUSH", "l", "x"), ("BLPOP", "l", "0")],
    [("SELECT", "3"), ("SET", "k", "v")], [("FLUSHALL",)], [("SET", "big", "x" * 3_000_000)],
    [("SET", "big", "x" * 3_000_000), ("GETDEL", "big")],
]


@pytest.mark.parametrize("commands", WRITES, ids=lambda c: "_".join(each[0] for each in c))
def test_a_reply_means_that_they_have_it(scene, commands):
    instance, _, replicas = scene
    with instance.client(timeout=60) as client:
        for command in commands:
            assert not client.raw(*command).startswith(b"-")
        offset = instance.offset()
        assert all(replica.offset() >= offset for replica in replicas)
        replicas[0].pause()
        for command in commands[:-1]:
            client.send(*command)
        client.send(*commands[-1])
        early = 1 if commands[0][0] in ("MULTI", "SELECT") else 0
        queued = len(commands) - 2 if commands[0][0] == "MULTI" else 0
        for _ in range(early + queued):
            client.read()
        assert client.silent_for(0.3), "one of two has it"
        replicas[0].resume()
        for _ in range(len(commands) - early - queued):
            assert not client.read_raw().startswith(b"-")


def test_too_few_in_time(scene):
    """The client learns that it was executed; what is no write, or failed, is answered at once; the order stays."""
    instance, primary, replicas = scene
    timeout(instance, 300)
    replicas[1].pause()
    with instance.client() as client:
        replies = client.pipeline_raw([("SET", "k", "v"), ("GET", "k"), ("LPUSH", "k", "x"), ("INCR", "n"), ("PING",)])
        assert replies[0].startswith(LATE + b"not by 2 replicas within 300 ms") and replies[3].startswith(LATE)
        assert replies[1] == b"$1\r\nv\r\n" and replies[2].startswith(b"-WRONGTYPE") and replies[4] == b"+PONG\r\n"
        assert primary("GET", "k") == b"v" and primary("GET", "n") == b"1"
        client("MULTI"), client("INCR", "n")
        assert client.raw("EXEC").startswith(LATE)
        assert client.raw("EVAL", "return redis.call('INCR', 'n')", 0).startswith(LATE)
        assert primary("GET", "n") == b"3"
        client("WATCH", "n"), client("MULTI"), client("INCR", "n")
        primary("INCR", "n")
        assert client.raw("EXEC") == b"*-1\r\n", "nothing was executed: there is nothing to wait for"
        assert client.raw("BLPOP", "nosuch", "0.1") == b"*-1\r\n"
        assert client.raw("EVAL", "return {err='MINE'}", 0).startswith(b"-MINE")
    assert instance.counters()["unacknowledged_writes"] == 4
    assert "unacknowledged_writes:4" in instance("INFO", "sidestream").decode()
    assert instance("CONFIG", "SET", "write-ack", "quorum:1") == "OK"
    assert instance("SET", "k", "w") == "OK", "the other one has it"
    replicas[1].resume()


def test_switched_off_while_somebody_waits(scene):
    instance, _, replicas = scene
    replicas[0].pause()
    with instance.client() as client:
        client.send("SET", "k", "v")
        assert client.silent_for(0.3)
        assert instance("CONFIG", "SET", "write-ack", "primary") == "OK"
        assert client.read() == "OK"
        assert client("SET", "k", "w") == "OK"
    replicas[0].resume()


def test_on_every_loop_in_order_and_under_load(lab, binary):
    servers = lab.servers(3)
    instance = lab.instance(servers, write_ack="quorum:2", write_ack_timeout="20s", threads=2)
    clients = [instance.client(timeout=60) for _ in range(20)]
    for client in clients:
        for i in range(50):
            client.send("RPUSH", "l:%d" % id(client), i)
            client.send("GET", "nosuch")
    for client in clients:
        for i in range(50):
            assert client.read() == i + 1
            assert client.read() is None


def test_a_planned_switch_keeps_the_promise(scene):
    """Nobody gets an error, and what was acknowledged is there."""
    instance, primary, replicas = scene
    with instance.client(timeout=60) as client:
        assert client("SET", "before", "1") == "OK"
        assert instance("FAILOVER", "TO", HOST, replicas[0].port, "TIMEOUT", 10000) == "OK"
        for i in range(200):
            assert client("INCR", "n") == i + 1
        wait_for(lambda: instance.info()["master_failover_state"] == "no-failover", 20, "the switch")
        assert client("INCR", "n") == 201
    wait_for(lambda: primary.role() == "slave" and primary("GET", "n") == b"201", 20, "the former primary to follow")


def test_a_write_that_is_lost_with_its_primary_is_not_acknowledged(lab, binary):
    """Whatever the replicas of the next primary reach: their offsets count other writes."""
    nodes = lab.servers(2, repl_ping_replica_period=3600)
    old = lab.instance([nodes[0]], write_ack="quorum:1", write_ack_timeout="60s")
    wire = lab.closing(FaultProxy(old.port))
    new = lab.instance([nodes[1]], replicaof=f"{HOST}:{wire.port}")
    new.wait_link()
    with old.client(timeout=60) as client:
        assert client("SET", "k", "v") == "OK"
        wire.stall()
        client.send("SET", "k", "lost")
        assert client.silent_for(0.3)
        wait_for(lambda: old.offset() == nodes[0].offset(), 10, "the relay to have it")
        assert new("REPLICAOF", "NO", "ONE") == "OK"
        for i in range(100):
            assert new("SET", "k", "new") == "OK"
        assert old("REPLICAOF", HOST, new.port) == "OK"
        assert client.read_raw().startswith(LATE + b"the primary changed before")
        wait_for(lambda: client("GET", "k") == b"new", 20, "the new history")


def test_waiting_clients_see_the_service_port_too(lab, binary):
    servers, port = lab.servers(2), free_port()
    instance = lab.instance(servers, write_ack="quorum:2", write_ack_timeout="100ms", service_listen=f"{HOST}:{port}")
    with RespClient(port) as client:
        with pytest.raises(ReplyError, match="NOACK"):
            client("SET", "k", "v")
        assert client("GET", "k") == b"v"
    assert instance("CONFIG", "GET", "write-ack*") == [b"write-ack", b"quorum:2", b"write-ack-timeout", b"100ms"]
