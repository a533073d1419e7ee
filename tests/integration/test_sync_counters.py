"""sync_full, sync_partial_ok and sync_partial_err in INFO stats are the instance's own, as a stock replica has them."""

import pytest

from harness import wait_converged, wait_for

NAMES = ("sync_full", "sync_partial_ok", "sync_partial_err")


def counters(front):
    stats = front.info("stats")
    return [int(stats[name]) for name in NAMES]


@pytest.fixture
def middle(lab, subject):
    """(top, a replica of it that replicas can follow): the instance has a node of its own."""
    top, node = lab.server(name="top"), lab.server(name="node")
    top("SET", "k", "v")
    if subject == "instance":
        front = lab.instance([node], replicaof=top)
    else:
        front = node
        node.replicaof(top)
    front.wait_link()
    return top, front


def test_counts_what_replicas_got(lab, middle):
    top, front = middle
    before = counters(front)
    below = lab.server(name="below")
    below.replicaof(front)
    below.wait_link()
    wait_converged(top, [below])
    grown = [after - earlier for after, earlier in zip(counters(front), before)]
    assert grown == [1, 0, 1], "a server that was alone asks for a history of its own"
    below("CLIENT", "KILL", "TYPE", "master")
    wait_for(lambda: counters(front)[1] - before[1] == 1, 20, "a partial resync")
    wait_converged(top, [below])
    assert counters(front)[0] - before[0] == 1
