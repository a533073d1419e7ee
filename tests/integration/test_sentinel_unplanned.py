"""The primary dies under load: its node, its instance, or both. Clients of the survivors keep their connections and are
told the truth; what was acknowledged and lost is in the ledger, exactly. `-s` shows how long and how much.

What the first pod sent last is held back on its way, and dies with the sender: what it acknowledged meanwhile is lost,
unless its instance lives on: that one has it, and passes it on. Where instance and node both die, the ledger can only
be read from the instance's disk, which is 20 ms behind its memory: there the last writes are given that time."""

import time

import pytest

from appenders import Appender, Books
from harness import wait_converged, wait_for
from places import Proxies
from sentinel import follows


@pytest.mark.parametrize("victim", ["node", "instance", "both"])
def test_the_primary_dies_under_load(lab, binary, victim):
    places = Proxies(lab)
    history = {"repl_backlog_disk_size": "16mb"} if victim == "both" else {}  # nobody else has what it wrote alone
    group = places.group(hold={"timeout": "10s"}, **history)
    first, survivors = group.instances[0], group.instances[1:]
    appenders = [Appender(instance, port, f"list:{number}:{of}", mortal=instance is first and victim != "node")
                 for of in range(2) for number, (instance, port) in enumerate(zip(group.instances, places.services))]
    for flowing in [appender.flows(50) for appender in appenders]:
        wait_for(flowing, 20, "the load to flow")
    places.gate.stall("down")
    for flowing in [appender.flows(50) for appender in appenders if appender.process is first]:
        wait_for(flowing, 20, "writes that nobody else gets")
    if victim == "both":
        for appender in appenders:
            appender.rest()
        wait_for(lambda: first.offset() == group.nodes[0].offset(), 10, "the instance to have it")
        wait_for(lambda: first.status()["backlog"]["disk_lag_bytes"] == 0, 10, "its disk to have it")
    died = time.monotonic()
    if victim != "instance":
        group.nodes[0].kill()
    if victim != "node":
        first.kill()
    places.gate.cut()
    places.gate.resume()
    for appender in appenders:
        appender.go()
    primary = group.switched(40)
    group.settled(primary, replicas=survivors)
    others = [appender for appender in appenders if not appender.mortal]
    wait_for(lambda: all(appender.first_after(died + 0.5) for appender in others), 30, "everybody to write again")
    again = [appender.first_after(died + 0.5) - died for appender in others]
    if victim != "instance":
        group.nodes[0].start().wait_up()
    if victim != "node":
        first.start().wait_up()
    wait_for(lambda: follows(first, primary), 60, "the old primary to follow")
    for appender in appenders:
        appender.stop()
    node = group.nodes[group.instances.index(primary)]
    wait_converged(node, [other for other in group.nodes if other is not node])
    books = Books(appenders, node, group.instances)
    print(f"\n{victim}: first write again after {min(again):.1f} s, everybody's after {max(again):.1f} s (Sentinel's "
          f"down-after is 1 s); {books.balance()}")
    assert bool(books.lost) == (victim != "node") and books.unseen == 0
