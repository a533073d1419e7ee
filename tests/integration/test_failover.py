"""FAILOVER: a planned switch of the primary in every layout: no error, nothing lost, nothing twice.

SIDESTREAM_SWITCH_ROUNDS says how often each layout is switched there and back; `-s` shows the longest pauses.
"""

import os

import pytest

from harness import HOST, stays, wait_converged, wait_for
from resp_client import RespClient, same_reply
from writers import Writers

ROUNDS = int(os.environ.get("SIDESTREAM_SWITCH_ROUNDS") or 2)


class Gateway:
    """One instance in front of a primary and two replicas."""

    def __init__(self, lab):
        self.nodes = lab.servers(3)
        self.nodes[0]("SET", "before", "all")
        self.front = lab.instance(self.nodes)
        self.ports = [self.front.port]
        self.everybody = self.nodes

    def primary_instance(self):
        return self.front

    def primary(self):
        return next(node for node in self.nodes if node.role() == "master")

    def switch(self, number):
        target = self.nodes[(number + 1) % 3]
        failover(self.front, "TO", HOST, target.port)
        wait_for(lambda: target.role() == "master", 10, "the target to be primary")

    def settled(self):
        wait_for(lambda: self.front.nodes_online(), 20, "all nodes online")


class Sidecars:
    """Two instances with a node each; one follows the other, clients at both."""

    def __init__(self, lab):
        self.nodes = lab.servers(2)
        self.nodes[0]("SET", "before", "all")
        first = lab.instance([self.nodes[0]])
        self.fronts = [first, lab.instance([self.nodes[1]], replicaof=first)]
        self.fronts[1].wait_link()
        self.ports = [front.port for front in self.fronts]
        self.everybody = self.nodes

    def primary_instance(self):
        return next(front for front in self.fronts if front.info()["role"] == "master")

    def primary(self):
        return self.nodes[self.fronts.index(self.primary_instance())]

    def switch(self, number):
        old, new = self.fronts[number % 2], self.fronts[(number + 1) % 2]
        failover(old, *(("TO", HOST, new.port) if number % 4 < 2 else ()))
        assert (old.info()["role"], new.info()["role"]) == ("slave", "master")

    def settled(self):
        for front in self.fronts:
            front.wait_online()
        wait_for(lambda: any(front.link_up() for front in self.fronts), 20, "the link between them")


class Stock:
    """An instance with one node and a plain stock replica below it; clients at the instance."""

    def __init__(self, lab):
        self.node, self.below = lab.servers(2)
        self.node("SET", "before", "all")
        self.front = lab.instance([self.node])
        self.below.replicaof(self.front)
        self.below.wait_link()
        self.ports = [self.front.port]
        self.everybody = [self.node, self.below]

    def primary_instance(self):
        return self.front if self.front.info()["role"] == "master" else self.below

    def primary(self):
        return self.node if self.front.info()["role"] == "master" else self.below

    def switch(self, number):
        if number % 2 == 0:
            failover(self.front, "TO", HOST, self.below.port)
            assert self.front.info()["role"] == "slave" and self.below.role() == "master"
            return
        # Back by hand: a stock primary hands over to nobody but stock.
        with self.below.client() as client:
            client("CLIENT", "PAUSE", 10000, "WRITE")
            wait_for(lambda: self.front.offset() == self.below.offset(), 10, "equal offsets")
            assert self.front("REPLICAOF", "NO", "ONE") == "OK"
            assert client("REPLICAOF", HOST, self.front.port) == "OK"
            assert client("CLIENT", "UNPAUSE") == "OK"

    def settled(self):
        self.front.wait_online()
        wait_for(lambda: any(s.link_up() for s in (self.front, self.below)), 20, "the link between them")


LAYOUTS = {"gateway": Gateway, "sidecars": Sidecars, "stock": Stock}


def failover(instance, *words):
    """Until it is over, with the state as INFO tells it."""
    wait_for(lambda: instance("FAILOVER", *words) == "OK", 20, f"FAILOVER {words} to be accepted")
    wait_for(lambda: instance.info()["master_failover_state"] == "no-failover", 20, "the failover to end")


@pytest.fixture(params=LAYOUTS)
def layout(lab, binary, request):
    return LAYOUTS[request.param](lab)


def full_syncs(layout):
    return sum(server.stat("sync_full") for server in layout.everybody)


def test_writers_notice_nothing(layout):
    layout.settled()
    full = full_syncs(layout)
    with Writers(layout.ports) as writers:
        for number in range(2 * ROUNDS):
            writers.go_on()
            layout.switch(number)
            layout.settled()
        writers.go_on()
    writers.verify(layout.primary())
    wait_for(lambda: len({server.digest() for server in layout.everybody}) == 1, 20, "equal data")
    assert full_syncs(layout) == full, "everybody goes on by partial resync"
    print(f"\n{type(layout).__name__}: {sum(writers.written)} pairs of writes, "
          f"longest pause {writers.longest_pause * 1000:.0f} ms")
