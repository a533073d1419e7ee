"""A stock replica moves primary -> instance -> primary ten times under load: only partial resyncs."""

import pytest

from harness import wait_converged, wait_for
from load import Load, fill


def moves(replica, stations, load, rounds):
    for station in stations * rounds:
        before = load.operations
        assert replica.replicaof(station) == "OK"
        wait_for(lambda s=station: replica.info()["master_port"] == str(s.port) and replica.link_up(), 20,
                 f"the replica to be connected to {station.name}")
        wait_for(lambda: load.operations > before, 20, "the load to go on")


def test_stock_chain_needs_only_partial_resyncs_too(lab):
    """The test's own test: the same moves between a stock primary and a stock replica of it."""
    primary = lab.server(repl_backlog_size="64mb")
    middle, replica = lab.servers(2, repl_backlog_size="64mb")
    for follower in (middle, replica):
        follower.replicaof(primary)
        follower.wait_link()
    full = primary.stat("sync_full") + middle.stat("sync_full")
    with Load(primary.port) as load:
        moves(replica, [middle, primary], load, rounds=2)
    assert primary.stat("sync_full") + middle.stat("sync_full") == full


@pytest.mark.parametrize("writes_to", ["primary", "instance"])
def test_ten_moves_and_only_partial_resyncs(lab, binary, server_binary, writes_to):
    primary = lab.server(name="primary", binary=server_binary, repl_backlog_size="64mb")
    fill(primary.client(), megabytes=1)
    replica = lab.server(name="replica", binary=server_binary)
    replica.replicaof(primary)
    replica.wait_link()
    instance = lab.instance([primary])
    full, partial = primary.stat("sync_full"), primary.stat("sync_partial_ok")
    with Load(instance.port if writes_to == "instance" else primary.port) as load:
        moves(replica, [instance, primary], load, rounds=10)
    wait_converged(primary, [replica])
    assert primary.stat("sync_full") == full
    assert primary.stat("sync_partial_ok") == partial + 10
    counters = instance.counters()
    assert (counters["full_syncs"], counters["partial_syncs"]) == (0, 10)
    assert instance.offset() == primary.offset()
