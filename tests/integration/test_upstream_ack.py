"""upstream-ack: what the upstream's WAIT counts when an instance stands between it and the replicas."""

import pytest

from harness import wait_converged, wait_for


def scene(lab, acknowledges):
    top, node, below = lab.servers(3, repl_ping_replica_period=3600)
    instance = lab.instance([node], replicaof=top, upstream_ack=acknowledges)
    instance.wait_link()
    below.replicaof(instance)
    below.wait_link()
    top("SET", "k", "v")
    wait_converged(top, [node, below])
    return top, instance, node, below


def write_and_wait(top, ms):
    with top.client(timeout=60) as client:
        client("INCR", "n")
        return client("WAIT", 1, ms)


def test_received_counts_the_instance(lab, binary):
    top, _, node, below = scene(lab, "received")
    for server in (node, below):
        server.pause()
    assert write_and_wait(top, 20000) == 1
    for server in (node, below):
        server.resume()


@pytest.mark.parametrize("quorum, alive", [(1, True), (2, False)])
def test_quorum_counts_replicas_behind_it(lab, binary, quorum, alive):
    top, instance, node, below = scene(lab, f"quorum:{quorum}")
    assert write_and_wait(top, 20000) == 1, "both are there"
    below.pause()
    assert write_and_wait(top, 20000 if alive else 500) == (1 if alive else 0)
    below.resume()
    assert write_and_wait(top, 20000) == 1
    wait_converged(top, [node, below])
    wait_for(lambda: int(top.info()["slave0"].split("offset=")[1].split(",")[0]) == top.offset(), 20, "all of it")
    assert instance("CONFIG", "GET", "upstream-ack") == [b"upstream-ack", f"quorum:{quorum}".encode()]


def test_too_few_replicas_acknowledge_nothing_more(lab, binary):
    """The link stays up; at run time the option can be taken back."""
    top, instance, *_ = scene(lab, "quorum:3")
    assert write_and_wait(top, 500) == 0
    assert instance.link_up()
    assert instance("CONFIG", "SET", "upstream-ack", "received") == "OK"
    assert write_and_wait(top, 20000) == 1
