"""Three ways to stand in front of servers, and the planned ways to move their primary.

Happy path: `layout = LAYOUTS["sidecars"](lab)`, `layout.settled()`, `layout.switch(number)` for number 0, 1, 2 ...,
each of which moves the primary by one place; `layout.by_hand(number)` does it with the steps of the tutorials.
Failure modes: those of the harness.
"""

from harness import HOST, wait_for


def failover(instance, *words):
    """Until it is over, with the state as INFO tells it."""
    wait_for(lambda: instance("FAILOVER", *words) == "OK", 20, f"FAILOVER {words} to be accepted")
    wait_for(lambda: instance.info()["master_failover_state"] == "no-failover", 20, "the failover to end")


def equal_offsets(first, second):
    wait_for(lambda: first.offset() == second.offset(), 20, "equal offsets")


class Gateway:
    """One instance in front of a primary and two replicas."""

    def __init__(self, lab, **config):
        self.nodes = lab.servers(3)
        self.nodes[0]("SET", "before", "all")
        self.front = lab.instance(self.nodes, **config)
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

    def by_hand(self, number):
        """At the servers; the instance sees that somebody promoted one, and follows."""
        old, new = self.nodes[number % 3], self.nodes[(number + 1) % 3]
        assert self.front("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
        equal_offsets(old, new)
        assert new("REPLICAOF", "NO", "ONE") == "OK"
        assert old("REPLICAOF", HOST, self.front.port) == "OK"
        assert self.front("CLIENT", "UNPAUSE") == "OK"

    def settled(self):
        wait_for(lambda: self.front.nodes_online(), 20, "all nodes online")


class Sidecars:
    """Two instances with a node each; one follows the other, clients at both."""

    def __init__(self, lab, **config):
        self.nodes = lab.servers(2)
        self.nodes[0]("SET", "before", "all")
        first = lab.instance([self.nodes[0]], **config)
        self.fronts = [first, lab.instance([self.nodes[1]], replicaof=first, **config)]
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

    def by_hand(self, number):
        old, new = self.fronts[number % 2], self.fronts[(number + 1) % 2]
        assert old("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
        equal_offsets(old, new)
        assert new("REPLICAOF", "NO", "ONE") == "OK"
        assert old("REPLICAOF", HOST, new.port) in ("OK", "OK Already connected to specified master")
        assert old("CLIENT", "UNPAUSE") == "OK"

    def drain(self, number):
        """The primary goes, as a pod does, and comes back as a replica."""
        old, new = self.fronts[number % 2], self.fronts[(number + 1) % 2]
        assert old.terminate(30) == 0
        assert new.info()["role"] == "master"
        old.start().wait_up()

    def settled(self):
        for front in self.fronts:
            front.wait_online()
        wait_for(lambda: any(front.link_up() for front in self.fronts), 20, "the link between them")


class Stock:
    """An instance with one node and a plain stock replica below it; clients at the instance."""

    def __init__(self, lab, **config):
        self.node, self.below = lab.servers(2)
        self.node("SET", "before", "all")
        self.front = lab.instance([self.node], **config)
        self.below.replicaof(self.front)
        self.below.wait_link()
        wait_for(lambda: "state=online" in self.front.info().get("slave0", ""), 10, "the replica in INFO")
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
        else:
            self.by_hand(number)  # a stock primary hands over to nobody but stock

    def by_hand(self, number):
        old, new = (self.front, self.below) if number % 2 == 0 else (self.below, self.front)
        with old.client() as client:
            client("CLIENT", "PAUSE", 10000, "WRITE")
            equal_offsets(old, new)
            assert new("REPLICAOF", "NO", "ONE") == "OK"
            assert client("REPLICAOF", HOST, new.port) == "OK"
            assert client("CLIENT", "UNPAUSE") == "OK"

    def drain(self, number):
        """With `drain: { hand-over: replica }`. Back by hand."""
        if number % 2 == 0:
            assert self.front.terminate(30) == 0
            assert self.below.role() == "master"
            self.front.start().wait_up()
        else:
            self.by_hand(number)

    def settled(self):
        self.front.wait_online()
        wait_for(lambda: any(s.link_up() for s in (self.front, self.below)), 20, "the link between them")


LAYOUTS = {"gateway": Gateway, "sidecars": Sidecars, "stock": Stock}
