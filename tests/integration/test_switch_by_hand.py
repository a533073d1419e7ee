"""The primary is moved at the servers themselves, not quite as tutorials say. (As they say: test_switches.py.)"""

from harness import HOST, stays, wait_for
from layouts import Gateway, equal_offsets
from writers import Writers


def test_a_node_promoted_and_left_so_becomes_the_primary(lab, binary):
    """Promoted first, and the former not demoted: nothing was written since, so it is followed."""
    gateway = Gateway(lab)
    gateway.settled()
    old, new = gateway.nodes[:2]
    full = [node.stat("sync_full") for node in gateway.nodes]
    gateway.front("CLIENT", "PAUSE", 60000, "WRITE")
    equal_offsets(old, new)
    assert new("REPLICAOF", "NO", "ONE") == "OK"
    wait_for(lambda: old.role() == "slave", 20, "the former primary to be demoted")
    gateway.front("CLIENT", "UNPAUSE")
    gateway.settled()
    assert gateway.front("SET", "k", "v") == "OK" and new("GET", "k") == b"v"
    assert [node.stat("sync_full") for node in gateway.nodes] == full


def test_a_promotion_that_would_cost_writes_is_taken_back(lab, binary):
    gateway = Gateway(lab)
    gateway.settled()
    old, new = gateway.nodes[:2]
    with Writers(gateway.ports) as writers:
        writers.go_on()
        assert new("REPLICAOF", "NO", "ONE") == "OK"
        writers.go_on()
        wait_for(lambda: new.role() == "slave", 20, "the promotion to be taken back")
        writers.go_on()
    writers.verify(old)
    assert "they would be lost" in gateway.front.log_text()
    gateway.settled()


def test_a_primary_that_was_demoted_by_mistake(lab, binary):
    """Every node follows the instance and nobody leads: the one that has everything leads again."""
    gateway = Gateway(lab)
    gateway.settled()
    gateway.front("SET", "k", "v")
    assert gateway.primary()("REPLICAOF", HOST, gateway.front.port) == "OK"
    wait_for(lambda: any(node.role() == "master" for node in gateway.nodes), 20, "somebody to be promoted")
    gateway.settled()
    assert wait_for(lambda: gateway.front("SET", "k2", "v2"), 10, "writes again") == "OK"
    stays(lambda: [node.role() for node in gateway.nodes].count("master") == 1, 1, "one primary")
    assert gateway.front("GET", "k") == b"v"


def test_a_pause_is_answered_when_what_came_before_is_done(lab, binary):
    """As on one server: who compares offsets behind the +OK relies on it."""
    gateway = Gateway(lab, hold={"timeout": "30s"})
    gateway.settled()
    node = gateway.primary()
    with gateway.front.client(timeout=60) as writer, gateway.front.client(timeout=60) as operator:
        node.pause()
        before = gateway.front.counters()["writes"]
        writer.send("INCR", "n")
        wait_for(lambda: gateway.front.counters()["writes"] > before, 10, "the write to be on its way")
        operator.send("CLIENT", "PAUSE", 60000, "WRITE")
        assert operator.silent_for(0.3)
        node.resume()
        assert operator.read() == "OK" and node("GET", "n") == b"1"
        assert operator("CLIENT", "UNPAUSE") == "OK" and writer.read() == 1
