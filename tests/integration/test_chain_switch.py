"""Three instances in a chain across sites, with a slow line between each two: one is promoted, moved, or cut off, and
nobody but it learns of it the hard way: everything goes on by partial resync."""

import pytest

from fault_proxy import FaultProxy
from harness import HOST, wait_converged, wait_for
from layouts import failover
from writers import Writers

DELAY = 0.03  # seconds, in each direction


class Chain:
    """top <- middle <- bottom, each in front of a node; a stock replica below the last one."""

    def __init__(self, lab, delay=DELAY):
        self.nodes = lab.servers(3)
        self.instances, self.lines = [], []
        for node in self.nodes:
            above = f"{HOST}:{self.lines[-1].port}" if self.lines else None
            instance = lab.instance([node], replicaof=above, start=False, hold={"timeout": "20s"})
            self.lines.append(lab.closing(FaultProxy(instance.port)))
            instance.config["announce-port"] = self.lines[-1].port
            self.instances.append(instance.start().wait_up().wait_online())
        self.below = lab.server()
        self.below.replicaof(self.lines[-1])
        for server in (*self.instances[1:], self.below):
            server.wait_link()
        for line in self.lines:
            line.delay = delay
        self.everybody = [*self.nodes, self.below]
        self.full = self.full_syncs()

    def full_syncs(self):
        return (sum(server.stat("sync_full") for server in self.everybody)
                + sum(instance.counters()["upstream_full_syncs"] for instance in self.instances))

    def settled(self, primary):
        """The instance with that index leads, everybody has its data and history, and nobody was sent everything."""
        node = self.nodes[primary]
        for instance in self.instances:
            wait_for(lambda i=instance: i.status()["ready"], 30, f"{instance.name} to be ready")
        wait_converged(node, [server for server in self.everybody if server is not node], 60)
        assert [instance.info()["role"] == "master" for instance in self.instances] == [n == primary for n in range(3)]
        assert self.full_syncs() == self.full, "everybody goes on by partial resync"


@pytest.fixture
def chain(lab, binary):
    return Chain(lab)


def test_the_middle_is_promoted_as_planned(chain):
    """And gives the role back; what is below it goes on behind it."""
    top, middle, bottom = chain.instances
    with Writers([instance.port for instance in chain.instances], count=6) as writers:
        writers.go_on()
        with writers.watched("to the middle"):
            failover(top, "TO", HOST, chain.lines[1].port)
        assert [i.info()["role"] for i in chain.instances] == ["slave", "master", "slave"]
        assert bottom.info()["master_port"] == str(chain.lines[1].port)
        writers.go_on()
        wait_for(lambda: middle.info()["connected_slaves"] == "2", 20, "both below the middle")
        with writers.watched("back to the top"):
            failover(middle, "TO", HOST, chain.lines[0].port)
        writers.go_on()
    print(f"\nchain with {DELAY * 1000:.0f} ms each way: {writers.report()}")
    writers.verify(chain.nodes[0])
    chain.settled(0)


def test_the_bottom_is_moved_and_the_middle_is_cut_out(chain):
    """A tree of it, and a chain again, while everybody writes."""
    top, middle, bottom = chain.instances
    with Writers([instance.port for instance in chain.instances], count=6) as writers:
        writers.go_on()
        assert bottom("REPLICAOF", HOST, chain.lines[0].port) == "OK"
        wait_for(lambda: top.info()["connected_slaves"] == "2", 20, "a tree")
        writers.go_on()
        assert middle("REPLICAOF", HOST, chain.lines[2].port) == "OK"
        wait_for(lambda: bottom.info()["connected_slaves"] == "2", 20, "the middle at the end")
        writers.go_on()
        assert middle("REPLICAOF", HOST, chain.lines[0].port) == "OK"
        assert bottom("REPLICAOF", HOST, chain.lines[1].port) == "OK"
        bottom.wait_link()
        writers.go_on()
    writers.verify(chain.nodes[0])
    chain.settled(0)


def test_a_line_is_cut_and_comes_back(chain):
    """The site below is served old data meanwhile; then it catches up."""
    top, middle, bottom = chain.instances
    with Writers([top.port, middle.port], count=6) as writers:
        writers.go_on()
        line = chain.lines[1]
        line.refusing = True
        line.cut()
        wait_for(lambda: not bottom.link_up(), 20, "the line to be missed")
        assert top("SET", "meanwhile", "1") == "OK"
        assert bottom("GET", "meanwhile") is None
        line.refusing = False
        wait_for(bottom.link_up, 30, "the link to be up again")
        writers.go_on()
    writers.verify(chain.nodes[0])
    chain.settled(0)


def test_the_top_dies_and_the_middle_is_promoted_by_hand(chain):
    """Those below stay where they are; the top comes back below the middle, with what it has by then."""
    top, middle, bottom = chain.instances
    assert top("SET", "k", "1") == "OK"
    wait_for(lambda: bottom.offset() == top.offset(), 20, "the write at the bottom")
    top.kill()
    chain.nodes[0].options["replicaof"] = (HOST, top.port)
    assert middle("REPLICAOF", "NO", "ONE") == "OK"
    assert bottom("SET", "k", "2") == "OK"
    wait_for(lambda: chain.below("GET", "k") == b"2", 20, "the write at the end")
    top.config["replicaof"] = f"{HOST}:{chain.lines[1].port}"
    top.start().wait_up()
    wait_for(lambda: top.info().get("master_link_status") == "up", 30, "the top below the middle")
    chain.full = chain.full_syncs()  # the counters of that process begin anew
    chain.settled(1)
    assert top("GET", "k") == b"2" and top("SIDESTREAM", "LOST")[0] == 0
