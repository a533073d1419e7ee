"""Sentinel's planned failover, which loses writes on plain servers, loses none here: the instance it promotes asks the
one it follows to hand over first. SIDESTREAM_SWITCH_ROUNDS says how often; `-s` shows the longest pause."""

import os

from harness import HOST, free_port, wait_converged, wait_for
from sentinel import Trio, follows, order_failover
from writers import Writers

ROUNDS = int(os.environ.get("SIDESTREAM_SWITCH_ROUNDS") or 2)


def primary_of(trio):
    return next(instance for instance in trio.instances if instance.info()["role"] == "master")


def full_syncs(trio):
    return sum(instance.counters()["upstream_full_syncs"] for instance in trio.instances)


def planned(trio, old):
    """SENTINEL FAILOVER until it is over and everybody is in his place."""
    sentinel = trio.sentinels[0]
    port = order_failover(trio.sentinels, old.port)
    new = next(instance for instance in trio.instances if instance.port == port)
    trio.settled(new)
    wait_for(lambda: sentinel.fields()["flags"] == "master" and len(sentinel.replicas()) == 2, 30, "peace")
    return new


def test_planned_failover_loses_nothing(lab, binary):
    ports = [free_port() for _ in range(3)]
    trio = Trio(lab, per_instance=[{"service_listen": f"{HOST}:{port}"} for port in ports]).watch(3)
    before = full_syncs(trio)
    with Writers(ports) as writers:
        for number in range(ROUNDS):
            old = primary_of(trio)
            writers.go_on()
            with writers.watched("Sentinel"):
                new = planned(trio, old)
            assert new is not old, f"round {number}"
            writers.go_on()
    print(f"\nsidecars, planned: {writers.report()}")
    writers.verify(primary_of(trio))
    nodes = {instance: node for instance, node in zip(trio.instances, trio.nodes)}
    primary = primary_of(trio)
    wait_converged(nodes[primary], [node for instance, node in nodes.items() if instance is not primary])
    assert full_syncs(trio) == before, "everybody goes on by partial resync"


def test_only_sentinels_word_asks(lab, binary):
    """REPLICAOF NO ONE parts from an upstream that goes on, as with stock."""
    nodes = lab.servers(2)
    top = lab.instance([nodes[0]])
    below = lab.instance([nodes[1]], replicaof=top)
    below.wait_link()
    assert below("REPLICAOF", "NO", "ONE") == "OK"
    assert (top.info()["role"], below.info()["role"]) == ("master", "master")
    assert below("REPLICAOF", HOST, top.port) == "OK"
    wait_for(lambda: follows(below, top), 20, "it to follow again")
    below.wait_online()
    assert below("SLAVEOF", "NO", "ONE") == "OK"
    assert below.info()["role"] == "master"
    wait_for(lambda: follows(top, below), 20, "the former to follow at once")
    wait_converged(nodes[1], [nodes[0]])


def test_an_upstream_that_cannot_hand_over_is_left(lab, binary):
    """Stock, or an instance whose node is dead: promoted at once, without a refusal."""
    stock, nodes = lab.server(), lab.servers(3)
    plain = lab.instance([nodes[0]], replicaof=stock)
    plain.wait_link()
    assert plain("SLAVEOF", "NO", "ONE") == "OK" and stock.role() == "master"
    top = lab.instance([nodes[1]])
    below = lab.instance([nodes[2]], replicaof=top)
    below.wait_link()
    below.wait_online()
    nodes[1].pause()
    with top.client() as client:
        wait_for(lambda: client.raw("PING").startswith(b"-ERR"), 10, "the upstream to be unwell")
    assert below("SLAVEOF", "NO", "ONE") == "OK" and below.info()["role"] == "master"
    nodes[1].resume()
