"""What deploy/scale.md says of trees of instances, with real processes; and its tables are those of the model."""

from harness import HOST, wait_converged, wait_for
from scale_model import DOCUMENT, tree, widest, with_tables


def test_the_tables_are_those_of_the_model():
    assert with_tables(DOCUMENT.read_text()) == DOCUMENT.read_text(), "run tests/deploy/scale_model.py --write"


def test_the_model():
    assert tree(1000, 50) == [1, 20] and tree(10, 50) == [1] and tree(1000, 10) == [1, 10, 100]
    most, end = widest(10e6)
    assert end == "network" and most == 77


def test_a_tree_costs_few_snapshots_and_moves_by_partial_resyncs(lab):
    """A primary, an instance, two below it, two below each of these, and a stock replica at each leaf."""
    primary = lab.server(name="primary")
    with primary.client() as client:
        for number in range(200):
            client("SET", f"key:{number}", "x" * 1000)
    top = lab.instance([primary], name="top")
    middle = [lab.instance(replicaof=top, name=f"middle{i}", ready=False) for i in range(2)]
    leaves = [lab.instance(replicaof=middle[i // 2], name=f"leaf{i}", ready=False) for i in range(4)]
    for instance in middle + leaves:
        wait_for(lambda i=instance: i.upstream_state() == "connected", 20, f"{instance.name} to be connected")
    replicas = [lab.server(name=f"replica{i}") for i in range(4)]
    for replica, leaf in zip(replicas, leaves):
        replica.replicaof(leaf)
    for replica in replicas:
        replica.wait_link(30)
    primary("SET", "last", "word")
    wait_converged(primary, replicas)
    assert {instance.replid() for instance in [top, *middle, *leaves]} == {primary.replid()}
    snapshots = primary.stat("sync_full")

    # A middle one dies: its leaves are told another parent, and nobody below them notices more than a pause.
    full = [replica.stat("sync_full") for replica in replicas]
    middle[0].kill()
    primary("SET", "meanwhile", "written")
    for leaf in leaves[:2]:
        assert leaf("REPLICAOF", HOST, middle[1].port) == "OK"
    wait_converged(primary, replicas)
    assert all(leaf.counters()["upstream_full_syncs"] <= 1 for leaf in leaves)
    assert [leaf.counters()["full_syncs"] for leaf in leaves] == [1] * 4, "each replica was filled once, at first"
    assert [replica.stat("sync_full") for replica in replicas] == full
    assert primary.stat("sync_full") == snapshots, "nothing was fetched again"
    assert snapshots <= 1 + len(leaves), "one to attach, one at most for each instance that asked"

    late = lab.server(name="late")
    late.replicaof(leaves[3])
    wait_converged(primary, [late])
    assert primary.stat("sync_full") == snapshots, "whoever comes later is served from what is there"
