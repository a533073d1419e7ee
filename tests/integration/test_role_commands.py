"""Commands that end at the instance: REPLICAOF, ROLE, WAIT, CONFIG of replication options, SIDESTREAM, and INFO."""

import json
import re
import time

import pytest

from fake_replica import FakeReplica
from harness import HOST, parse_info, stays, wait_converged, wait_for
from resp_client import RespClient, same_reply

READONLY_WAIT = (b"-ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica "
                 b"is configured to be writable (which is not the default) writes to replicas are just local and are "
                 b"not propagated.\r\n")


@pytest.fixture
def both(lab, subject):
    """(a stock server, the subject): connections to each."""
    stock = lab.server(name="stock")
    other = lab.server(name="other")
    front = other if subject == "stock" else lab.instance([other])
    return stock.client(), front.client()


ERRORS = [
    ("REPLICAOF",), ("REPLICAOF", "a"), ("REPLICAOF", "a", "b", "c"), ("replicaof", "a"), ("SlaveOf", "a"),
    ("SLAVEOF",), ("REPLICAOF", "h", "port"), ("REPLICAOF", "h", "-1"), ("REPLICAOF", "h", "65536"),
    ("REPLICAOF", "h", "1.5"), ("REPLICAOF", "h", ""), ("SLAVEOF", "NO", "TWO"), ("REPLICAOF", "NO", "ONE"),
    ("SLAVEOF", "no", "one"), ("ROLE", "x"), ("WAIT",), ("WAIT", "1"), ("WAIT", "x", "1"), ("WAIT", "1", "x"),
    ("WAIT", "1", "-1"), ("WAIT", "0", "0"), ("WAIT", "-5", "0"), ("WAIT", "0", "100", "x"), ("WAITAOF", "1", "1", "0"),
    ("CONFIG", "GET"), ("CONFIG", "NOSUCH"), ("CONFIG",), ("CONFIG", "SET", "replicaof", "a 1"),
    ("CONFIG", "SET", "nosuch", "1"), ("CONFIG", "SET", "repl-timeout"),
    ("CONFIG", "GET", "no-such-option"), ("CONFIG", "GET", "replicaof"), ("CONFIG", "GET", "slaveof"),
    ("CONFIG", "GET", "masterauth"), ("CONFIG", "GET", "repl-timeout"), ("CONFIG", "GET", "replica-priority"),
    ("CONFIG", "GET", "slave-priority"), ("CONFIG", "GET", "repl-backlog-ttl"),
    ("CONFIG", "GET", "min-slaves-to-write"),
    ("CONFIG", "GET", "replica-serve-stale-data"), ("CONFIG", "GET", "slave-serve-stale-data"),
    ("REPLCONF",), ("PSYNC",), ("SYNC", "x"), ("READONLY",), ("READWRITE",), ("CLUSTER", "INFO"), ("ASKING",),
]


@pytest.mark.parametrize("command", ERRORS, ids=lambda c: "_".join(c) or "empty")
def test_stock_texts(both, command):
    same_reply(*both, *command)
    same_reply(*both, "PING")


def test_replication_options_are_set_and_read_like_stock(both):
    for name, value in (("repl-timeout", 30), ("repl-backlog-size", "2mb"), ("repl-backlog-size", 1 << 24),
                        ("slave-priority", 50), ("replica-serve-stale-data", "no"),
                        ("masterauth", "x y"), ("masteruser", "me"), ("masteruser", "")):
        same_reply(*both, "CONFIG", "SET", name, value)
        same_reply(*both, "CONFIG", "GET", name)
    same_reply(*both, "CONFIG", "GET", "replica-priority")
    same_reply(*both, "CONFIG", "SET", "repl-timeout", 31, "replica-priority", 51)
    same_reply(*both, "CONFIG", "GET", "repl-timeout")


@pytest.mark.parametrize("name, value", [("repl-timeout", "0"), ("repl-timeout", "x"),
                                         ("replica-serve-stale-data", "maybe"), ("repl-backlog-size", "much")])
def test_bad_values_are_refused_and_change_nothing(both, name, value):
    """The reason behind the stock words is ours: it says what is wanted."""
    before = both[1]("CONFIG", "GET", name)
    for side in both:
        error = side.raw("CONFIG", "SET", name, value)
        assert error.startswith(b"-ERR CONFIG SET failed (possibly related to argument '%s') - " % name.encode())
    assert both[1]("CONFIG", "GET", name) == before


def test_replicaof_texts_as_a_replica(lab, subject):
    top = lab.server()
    stock, node = lab.servers(2)
    front = node if subject == "stock" else lab.instance([node])
    with stock.client() as expected, front.client() as actual:
        for command in (("REPLICAOF", HOST, top.port), ("SLAVEOF", HOST, top.port), ("slaveof", HOST, f"{top.port}")):
            same_reply(expected, actual, *command)
        stock.wait_link()
        front.wait_link()
        if subject == "instance":
            front.wait_online()
        for command in (("REPLICAOF", HOST, top.port), ("WAIT", 0, 0), ("CONFIG", "GET", "replicaof"),
                        ("CONFIG", "GET", "slaveof"), ("REPLICAOF", "NO", "ONE"),
                        ("REPLICAOF", "NO", "ONE"), ("CONFIG", "GET", "replicaof")):
            same_reply(expected, actual, *command)


def test_the_link_is_down_but_the_address_is_the_same(lab, front):
    top = lab.server()
    assert front[0].raw("REPLICAOF", HOST, top.port) == b"+OK\r\n"
    front[0].wait_link()
    top.kill()
    wait_for(lambda: not front[0].link_up(), 10, "the link to be down")
    assert front[0].raw("REPLICAOF", HOST, top.port) == b"+OK Already connected to specified master\r\n"
    down = int(front[0].info()["master_link_down_since_seconds"])
    assert 0 <= down < 10


def test_promotion_costs_nobody_below_a_full_resync(lab, binary):
    top, node, below = lab.servers(3, repl_ping_replica_period=3600)
    top("SET", "k", "v")
    instance = lab.instance([node], replicaof=top)
    instance.wait_link()
    below.replicaof(instance)
    below.wait_link()
    deeper = lab.instance([lab.server(name="deep")], replicaof=instance)
    deeper.wait_link()
    wait_converged(top, [node, below])
    old, full = instance.replid(), instance.counters()["full_syncs"]
    offset = instance.offset()
    assert instance("REPLICAOF", "NO", "ONE") == "OK"
    assert instance.info()["role"] == "master"
    with instance.client() as client:
        assert client("SET", "after", "promotion") == "OK"
        assert client("WAIT", 1, 5000) >= 1
    wait_converged(node, [below], 20)
    info = instance.info()
    assert (info["master_replid2"], int(info["second_repl_offset"])) == (old, offset + 1)
    assert info["master_replid"] == node.replid() != old
    wait_for(lambda: deeper.replid() == info["master_replid"], 10, "the deeper instance to know the new id")
    assert instance.counters()["full_syncs"] == full
    assert deeper.counters()["full_syncs"] <= 1
    assert below.raw("SET", "x", "y").startswith(b"-READONLY")
    top("SET", "k", "split")
    stays(lambda: below("GET", "k") == b"v", 0.3, "the old primary's writes stay away")


def test_a_promoted_instance_that_was_cut_from_its_upstream(lab, binary):
    top, node = lab.servers(2)
    top("SET", "k", "v")
    instance = lab.instance([node], replicaof=top)
    instance.wait_link()
    wait_for(lambda: node("GET", "k") == b"v", 10, "the node to be filled")
    top.kill()
    wait_for(lambda: not instance.link_up(), 10, "the loss of the upstream")
    assert instance("REPLICAOF", "NO", "ONE") == "OK"
    wait_for(lambda: instance("SET", "k2", "v2") == "OK", 10, "the first write")
    assert node("GET", "k2") == b"v2"


def test_chain_of_three_instances(lab, binary):
    """A write at any end goes to the top and comes back down; reads everywhere are fresh."""
    nodes = lab.servers(3)
    top = lab.instance([nodes[0]])
    middle = lab.instance([nodes[1]], replicaof=top)
    bottom = lab.instance([nodes[2]], replicaof=middle)
    for instance in (middle, bottom):
        instance.wait_link()
    for number, instance in enumerate((top, middle, bottom)):
        with instance.client() as client:
            assert client("SET", f"k{number}", "v") == "OK"
            assert client("GET", f"k{number}") == b"v", "read your own write"
    nodes[0]("CONFIG", "SET", "repl-ping-replica-period", 3600)
    wait_converged(nodes[0], nodes[1:], 20)
    assert [i.info()["role"] for i in (top, middle, bottom)] == ["master", "slave", "slave"]
    assert middle.info()["slave0"].startswith(f"ip=127.0.0.1,port={bottom.port},state=online")
    assert len({instance.replid() for instance in (top, middle, bottom)}) == 1
    with bottom.client() as client:
        assert client.raw("WAIT", 0, 0) == READONLY_WAIT


def test_wait_counts_what_has_really_applied(lab, binary):
    primary, first, second = lab.servers(3)
    instance = lab.instance([primary, first])
    second.replicaof(instance)
    second.wait_link()
    with instance.client(timeout=20) as client:
        client("SET", "k", "v")
        assert client("WAIT", 2, 5000) == 2
        assert (first("GET", "k"), second("GET", "k")) == (b"v", b"v")
        second.pause()
        client("SET", "k", "v2")
        assert client("WAIT", 2, 300) == 1
        assert client("WAIT", 1, 5000) == 1
        second.resume()
        assert client("WAIT", 2, 10000) == 2
        assert client.pipeline([("MULTI",), ("WAIT", 2, 2000), ("EXEC",)])[-1] == [2]
        assert client("WAIT", 99, 1000) == 2
    with instance.client() as idle:
        assert idle("WAIT", 2, 5000) == 2, "nothing written: everybody has it"


def test_role_reply_of_both_roles(lab, binary):
    top, node, below = lab.servers(3)
    instance = lab.instance([node])
    assert instance("ROLE")[:2] == [b"master", instance.offset()]
    below.replicaof(instance)
    below.wait_link()
    replicas = wait_for(lambda: instance("ROLE")[2], 10, "the replica in ROLE")
    assert [b"127.0.0.1", str(below.port).encode()] in [replica[:2] for replica in replicas]
    assert all(isinstance(part, bytes) for replica in replicas for part in replica)
    instance("REPLICAOF", HOST, top.port)
    instance.wait_link()
    role = instance("ROLE")
    assert role[:4] == [b"slave", b"127.0.0.1", top.port, b"connected"] and role[4] >= 0


def test_info_sections(lab, binary):
    node = lab.server()
    node("SET", "k", "v")
    instance = lab.instance([node])
    wanted, got = parse_info(node("INFO")), parse_info(instance("INFO"))
    assert [name for name in got if not name.startswith(("slave0", "sidestream"))] == \
           [name for name in wanted if not name.startswith("slave0")]
    assert got["run_id"] != wanted["run_id"] and re.fullmatch("[0-9a-f]{40}", got["run_id"])
    assert got["tcp_port"] == str(instance.port) and got["redis_version"] == wanted["redis_version"]
    assert got["db0"].startswith("keys=1,")
    assert instance.info("server")["run_id"] == got["run_id"]
    assert b"# Sidestream" in instance("INFO", "everything") and b"# Sidestream" in instance("INFO", "sidestream")
    assert b"# Sidestream" not in instance("INFO")
    for sections in (("replication", "keyspace"), ("SERVER",), ("nosuchsection",), ("default",),
                     ("cpu", "replication")):
        def titles(server, words=sections):
            return re.findall(rb"^# \w+", server("INFO", *words), re.M)
        assert titles(instance) == titles(node)


def test_sidestream_commands(lab, binary):
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica])
    status = json.loads(instance("SIDESTREAM", "STATUS"))
    for key in ("version", "role", "state", "ready", "replid", "replid2", "offset", "second_offset", "backlog",
                "upstream", "nodes", "replicas", "counters", "clients"):
        assert key in status, key
    assert status["role"] == "primary" and status["ready"] is True
    assert {node["address"]: node["role"] for node in status["nodes"]} == {primary.address: "primary",
                                                                           replica.address: "replica"}
    nodes = instance("SIDESTREAM", "NODES")
    text = nodes.decode() if isinstance(nodes, bytes) else "\n".join(str(line) for line in nodes)
    for server in (primary, replica):
        assert server.address in text
    assert instance("SIDESTREAM", "HELP")
    for command, words in ((("SET", "k", "v"), "primary"), (("GET", "never-written"), None)):
        explained = str(instance("SIDESTREAM", "EXPLAIN", *command))
        assert primary.address in explained or replica.address in explained
        assert words is None or words in explained.lower()
    assert instance("GET", "k") is None, "EXPLAIN runs nothing"
    assert instance.raw("SIDESTREAM", "NOSUCH").startswith(b"-ERR")
    assert instance.raw("SIDESTREAM").startswith(b"-ERR")
    assert instance("PING") == "PONG"


def test_status_counts_replicas_and_syncs(lab, binary):
    instance = lab.instance([lab.server()])
    replica = FakeReplica(instance.port, 7777)
    replica.full_sync()
    status = wait_for(lambda: replica.ack() or (instance.status() if "online" in str(instance.status()["replicas"])
                                                else None), 10, "the replica in the status")
    entry = next(r for r in status["replicas"] if r["address"] == f"{HOST}:7777")
    assert entry["state"] == "online" and entry["lag_bytes"] >= 0 and "offset" in entry
    assert status["counters"]["full_syncs"] == 1 and status["clients"]["connected"] >= 1
    assert status["backlog"]["first"] + status["backlog"]["histlen"] == status["offset"] + 1


def test_answers_from_memory_while_the_node_is_frozen(lab, binary):
    node = lab.server()
    instance = lab.instance([node])
    node.pause()
    try:
        with instance.client(timeout=5) as client:
            for command in (("ROLE",), ("INFO", "replication"), ("INFO",), ("SIDESTREAM", "STATUS"),
                            ("CONFIG", "GET", "repl-timeout"), ("CLIENT", "ID")):
                begin = time.monotonic()
                client(*command)
                assert time.monotonic() - begin < 1, f"{command} took too long"
            begin = time.monotonic()
            client.raw("PING")
            assert time.monotonic() - begin < 1
        assert RespClient(instance.port, timeout=5).raw("ROLE").startswith(b"*3")
    finally:
        node.resume()
    assert wait_for(lambda: instance("SET", "k", "v"), 10, "writes again") == "OK"


def test_answers_from_memory_while_the_node_is_dead(lab, binary):
    node = lab.server()
    instance = lab.instance([node])
    replid = instance.replid()
    node.kill()
    wait_for(lambda: "down" in str(instance.status()["nodes"]), 10, "the node to be known as down")
    assert instance.info()["role"] == "master" and instance.replid() == replid
    with instance.client(timeout=15) as client:
        reply = client.raw("SET", "k", "v")
        assert reply.startswith(b"-") and not reply.startswith(b"-ERR"), f"a retryable error, not {reply!r}"
        assert client("CLIENT", "SETNAME", "still-here") == "OK", "the connection stays usable"
    node.start().wait_up()
    assert wait_for(lambda: instance("SET", "k", "v"), 20, "writes again") == "OK"
