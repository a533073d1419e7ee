"""The primary dies unasked: failover: auto, and the ledger of what that cost."""

import pathlib
import subprocess

import pytest

from fault_proxy import FaultProxy
from harness import HOST, stays, wait_for
from layouts import Gateway

AUTO = {"failover": "auto", "down_after": "500ms", "hold": {"timeout": "20s"}}


class Watched(Gateway):
    """A gateway that may promote by itself."""

    def __init__(self, lab, **config):
        super().__init__(lab, **{**AUTO, **config})
        self.settled()


def lost(instance):
    count, unseen, writes, _ = instance("SIDESTREAM", "LOST")
    return count, unseen, [[word for word in write[2:]] for write in writes]


def lost_keys(instance):
    """What became of each, by database and name."""
    return {(db, key.decode()): since.decode() for db, key, _, since in instance("SIDESTREAM", "LOST")[3]}


def play(path, server):
    with path.open() as text:
        pipe = ["redis-cli", "-p", str(server.port), "--pipe"]
        done = subprocess.run(pipe, stdin=text, capture_output=True, text=True)
    assert "errors: 0" in done.stdout, done.stdout + done.stderr


def test_the_most_advanced_replica_takes_over(lab, binary):
    gateway = Watched(lab)
    old = gateway.nodes[0]
    with gateway.front.client(timeout=60) as client:
        client("SET", "k", "v")
        assert client("WAIT", 2, 5000) == 2
        full = [node.stat("sync_full") for node in gateway.nodes[1:]]
        old.kill()
        assert client("GET", "k") == b"v", "reads go on"
        assert client("SET", "k", "v2") == "OK", "held, not refused"
    new = next(node for node in gateway.nodes[1:] if node.role() == "master")
    assert new("GET", "k") == b"v2"
    wait_for(lambda: gateway.front.counters()["failovers"] == 1, 10, "the promotion to be over")
    other = next(node for node in gateway.nodes[1:] if node is not new)
    wait_for(lambda: other("GET", "k") == b"v2", 20, "the survivor to go on")
    assert [node.stat("sync_full") for node in gateway.nodes[1:]] == full
    old.start().wait_up()
    wait_for(lambda: old("GET", "k") == b"v2" and old.role() == "slave", 30, "the old primary to be a replica")
    assert lost(gateway.front) == (0, 0, [])


def test_replicas_attach_while_the_primary_is_dead(lab, binary):
    """The instance has the history, whoever wrote it: a link that breaks then is made again and brings the rest."""
    nodes = lab.servers(2)
    below = lab.server()
    front = lab.instance(nodes)
    wire = lab.closing(FaultProxy(front.port))
    below.replicaof(wire)
    below.wait_link()
    front("SET", "k", "1")
    wait_for(lambda: below("GET", "k") == b"1", 10, "the write below")
    wire.stall("down")
    front("SET", "k", "2")
    full = below.stat("sync_full"), front.counters()["full_syncs"]
    nodes[0].kill()
    wait_for(lambda: front.raw("PING").startswith(b"-ERR operation not permitted: the node"), 10, "Sentinel to be told")
    wire.cut()
    wire.resume()
    wait_for(lambda: below("GET", "k") == b"2", 20, "the last write of the dead primary")
    below.wait_link()
    assert full == (below.stat("sync_full"), front.counters()["full_syncs"])


def test_off_by_default_and_never_an_empty_or_excluded_one(lab, binary):
    gateway = Gateway(lab)
    gateway.settled()
    gateway.nodes[0].kill()
    stays(lambda: [node.role() for node in gateway.nodes[1:]] == ["slave", "slave"], 3, "nobody is promoted")
    assert gateway.front("GET", "before") == b"all"


def test_priority_decides(lab, binary):
    gateway = Watched(lab)
    gateway.nodes[1]("CONFIG", "SET", "replica-priority", 0)
    gateway.nodes[2]("CONFIG", "SET", "replica-priority", 10)
    wait_for(lambda: gateway.nodes[2].info()["slave_priority"] == "10", 5, "the priority")
    stays(lambda: True, 1.2, "the instance looks at it")
    gateway.nodes[0].kill()
    wait_for(lambda: gateway.nodes[2].role() == "master", 20, "the one with the priority")
    assert gateway.nodes[1].role() == "slave"


def test_what_a_frozen_primary_wrote_alone_is_in_the_ledger(lab, binary):
    """It takes writes that nobody else gets, and comes back: they are counted exactly, and do not mix in."""
    gateway = Watched(lab)
    old = gateway.nodes[0]
    gateway.front("SET", "k", "v")
    old.pause()
    new = wait_for(lambda: next((n for n in gateway.nodes[1:] if n.role() == "master"), None), 20, "a new primary")
    assert wait_for(lambda: gateway.front("SET", "k", "new"), 10, "a write") == "OK"
    with old.client(timeout=20) as alone:
        for number in range(25):
            alone.send("INCR", f"alone:{number % 5}")
        old.resume()
        replies = [alone.read() for _ in range(25)]
        acknowledged = sum(isinstance(reply, int) for reply in replies)
    wait_for(lambda: old.role() == "slave" and old("GET", "k") == b"new", 30, "the old primary to be a replica")
    count, unseen, writes = lost(gateway.front)
    assert (count, unseen) == (acknowledged, 0) and acknowledged > 0
    assert [write[0] for write in writes] == [b"INCR"] * count
    assert gateway.front.status()["counters"]["lost_writes"] == count
    assert new("EXISTS", "alone:0") == 0 and old("EXISTS", "alone:0") == 0
    files = list((gateway.front.dir / "data").glob("lost-*.resp"))
    assert len(files) == 1 and files[0].read_bytes().count(b"INCR") == count
    scratch = lab.server()
    play(files[0], scratch)
    assert sum(int(scratch("GET", key)) for key in scratch("KEYS", "alone:*")) == count, "it can be replayed"


def test_the_ledger_tells_which_keys_were_written_since(lab, binary):
    """Before the old primary came back, and after; in their own database only. The others can be replayed."""
    gateway = Watched(lab)
    old = gateway.nodes[0]
    gateway.front("SET", "k", "v")
    old.pause()
    wait_for(lambda: any(node.role() == "master" for node in gateway.nodes[1:]), 20, "a new primary")
    wait_for(lambda: gateway.front("SET", "k", "new"), 10, "a write")
    with gateway.front.client() as client:
        client("DEL", "alone:1")
        client("SELECT", 5)
        client("SET", "alone:2", "elsewhere")
        client("SELECT", 0)
        client("MSET", "alone:3", "before", "k", "newer")
    with old.client(timeout=20) as alone:
        for number in range(6):
            alone.send("SET", f"alone:{number}", "x" * 100_000 if number == 5 else "old")
        alone.send("MSET", "alone:0", "old", "alone:1", "old")
        alone.send("SELECT", 7)
        alone.send("SET", "alone:1", "old")
        old.resume()
        assert [alone.read() for _ in range(9)] == ["OK"] * 9
    wait_for(lambda: old.role() == "slave" and old("GET", "k") == b"newer", 30, "the old primary to be a replica")
    assert gateway.front("SET", "alone:4", "after") == "OK"
    expected = {(0, "alone:0"): "untouched", (0, "alone:1"): "untouched", (0, "alone:2"): "untouched",
                (0, "alone:3"): "overwritten", (0, "alone:4"): "overwritten", (0, "alone:5"): "untouched",
                (7, "alone:1"): "untouched"}
    wait_for(lambda: lost_keys(gateway.front) == expected, 10, f"{expected}, not {lost_keys(gateway.front)}")
    assert gateway.front("DEL", "alone:1") == 0, "what was not there is not written"
    writes = gateway.front("SIDESTREAM", "LOST")[2]
    assert [write[1] for write in writes] == [0] * 7 + [7], "the database of each"
    assert gateway.front.status()["lost"]["keys"] == {"untouched": 5, "overwritten": 2, "unknown": 0}
    [path] = gateway.front("SIDESTREAM", "LOST", "UNTOUCHED")
    scratch = lab.server()
    play(gateway.front.dir / "data" / pathlib.Path(path.decode()).name, scratch)
    kept = {"alone:0": b"old", "alone:1": b"old", "alone:2": b"old", "alone:5": b"x" * 100_000}
    assert {key.decode(): scratch("GET", key) for key in scratch("KEYS", "*")} == kept
    gateway.front("FLUSHALL")
    wait_for(lambda: set(lost_keys(gateway.front).values()) == {"overwritten"}, 10, "all of them to be overwritten")


@pytest.mark.parametrize("instance_too", [False, True])
def test_a_sidecar_that_comes_back_knows_what_it_lost(lab, binary, instance_too):
    """Cut off from its replica, the old primary took writes; the other side was promoted; it returns as a replica."""
    nodes = lab.servers(2, repl_ping_replica_period=3600)
    old = lab.instance([nodes[0]])
    wire = lab.closing(FaultProxy(old.port))
    new = lab.instance([nodes[1]], replicaof=f"{HOST}:{wire.port}")
    new.wait_link()
    old("SET", "k", "v")
    wait_for(lambda: nodes[1]("GET", "k") == b"v", 10, "the write on both sides")
    wire.stall()
    with old.client() as client:
        for number in range(20):
            client("RPUSH", "alone", number)
    wait_for(lambda: old.offset() == nodes[0].offset(), 10, "the relay to have it")
    assert new("REPLICAOF", "NO", "ONE") == "OK"
    assert new("SET", "k", "new") == "OK"
    if instance_too:
        old.kill()
        old.start().wait_up().wait_ready()
        wait_for(lambda: old.offset() == nodes[0].offset(), 10, "the relay to have it again")
    assert old("REPLICAOF", HOST, new.port) == "OK"
    old.wait_link(20)
    assert (lost(old)[0], [write[2] for write in lost(old)[2]]) == (20, [str(n).encode() for n in range(20)])
    wait_for(lambda: nodes[0]("GET", "k") == b"new" and nodes[0]("EXISTS", "alone") == 0, 20, "the new history")
    assert old.status()["counters"]["lost_writes"] == 20 and new.status()["counters"]["lost_writes"] == 0
    key = (-1 if instance_too else 0, "alone")  # the SELECT was before its start
    assert lost_keys(old) == {key: "untouched"}
    new("RPUSH", "alone", "again")
    wait_for(lambda: lost_keys(old) == {key: "overwritten"}, 10, "the write to the lost key to be seen")
