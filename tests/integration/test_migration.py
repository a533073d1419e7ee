"""A stock replica moves primary -> instance -> primary ten times under load: only partial resyncs."""

import pytest

from harness import wait_converged, wait_for
from load import Load, fill


def follow(replica, station):
    assert replica.replicaof(station) == "OK"
    wait_for(lambda: replica.info()["master_port"] == str(station.port) and replica.link_up(), 20,
             f"the replica to be connected to {station.name}")


def test_stock_chain_needs_only_partial_resyncs_too(lab):
    """The test's own test, between stock servers and at rest: stock refuses a replica that is ahead."""
    primary = lab.server(repl_backlog_size="64mb", repl_ping_replica_period=3600)
    middle, replica = lab.servers(2, repl_backlog_size="64mb")
    for follower in (middle, replica):
        follower.replicaof(primary)
        follower.wait_link()
    full = primary.stat("sync_full") + middle.stat("sync_full")
    for station in [middle, primary] * 3:
        primary("SET", "k", "v")
        wait_converged(primary, [middle, replica])
        follow(replica, station)
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
        for station in [instance, primary] * 10:
            before = load.operations
            follow(replica, station)
            wait_for(lambda b=before: load.operations > b, 20, "the load to go on")
    wait_converged(primary, [replica])
    assert primary.stat("sync_full") == full
    assert primary.stat("sync_partial_ok") == partial + 10
    counters = instance.counters()
    assert (counters["full_syncs"], counters["partial_syncs"]) == (0, 10)
    wait_for(lambda: instance.offset() == primary.offset(), 10, "the instance to be level")
