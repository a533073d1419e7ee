"""The steps that every tutorial shows, typed as they stand there, while clients write: no error, nothing lost."""

from harness import HOST, stays, wait_for
from test_failover import Gateway, Sidecars
from writers import Writers


def equal_offsets(first, second):
    wait_for(lambda: first.offset() == second.offset(), 20, "equal offsets")


def test_between_two_instances(lab, binary):
    pair = Sidecars(lab)
    pair.settled()
    with Writers(pair.ports) as writers:
        for number in range(2):
            writers.go_on()
            old, new = pair.fronts[number], pair.fronts[1 - number]
            assert old("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
            equal_offsets(old, new)
            assert new("REPLICAOF", "NO", "ONE") == "OK"
            assert old("REPLICAOF", HOST, new.port) in ("OK", "OK Already connected to specified master")
            assert old("CLIENT", "UNPAUSE") == "OK"
            pair.settled()
        writers.go_on()
    writers.verify(pair.primary())


def test_between_two_nodes_behind_an_instance(lab, binary):
    """The instance sees that somebody promoted a node, and follows."""
    gateway = Gateway(lab)
    gateway.settled()
    old, new = gateway.nodes[:2]
    with Writers(gateway.ports) as writers:
        writers.go_on()
        assert gateway.front("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
        equal_offsets(old, new)
        assert new("REPLICAOF", "NO", "ONE") == "OK"
        assert old("REPLICAOF", HOST, new.port) == "OK"
        assert gateway.front("CLIENT", "UNPAUSE") == "OK"
        writers.go_on()
        gateway.settled()
    writers.verify(new)
    assert new.role() == "master" and gateway.front.status()["role"] == "primary"
    wait_for(lambda: len({node.digest() for node in gateway.nodes}) == 1, 20, "equal data")


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
