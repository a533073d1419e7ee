"""The primary is cut off from the others, with clients on both sides: who is alone stops, the others go on, and what
the one took meanwhile is told, exactly. `-s` shows how long and how much.

The pods are network namespaces where those can be had (root), and stand behind fault proxies everywhere.
"""

import os
import shutil
import subprocess
import sys
import time

import pytest

from appenders import Appender, Books
from harness import Lab, stays, wait_converged, wait_for
from places import PLACES
from sentinel import follows

ALONE = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
FENCING = {"fence_after": "1s", "hold": {"timeout": "10s"}}


def the_primary_is_isolated(lab, kind):
    places = PLACES[kind](lab)
    group = places.group(**FENCING)
    first, rest = group.instances[0], group.instances[1:]
    appenders = [Appender(instance, port, f"side:{number}:{of}") for of in range(2)
                 for number, (instance, port) in enumerate(zip(group.instances, places.services))]
    minority = [appender for appender in appenders if appender.process is first]
    for flowing in [appender.flows() for appender in appenders]:
        wait_for(flowing, 20, "the load to flow")

    places.isolate()
    cut = time.monotonic()
    wait_for(lambda: first.status()["fenced"], 20, "the fence")
    fenced = time.monotonic()
    primary = group.switched(sentinels=places.others)
    group.settled(primary, replicas=rest)
    majority = [appender for appender in appenders if appender.process is not first]
    wait_for(lambda: all(appender.first_after(cut + 0.5) for appender in majority), 30, "the others to write again")
    again = max(appender.first_after(cut + 0.5) for appender in majority)
    stays(lambda: first.status()["fenced"], 1.5, "the fence stands")
    behind = [write for appender in minority for write in appender.acknowledged if write.begun > fenced]
    assert not behind, "no write behind the fence"
    alone = sum(write.begun > cut for a in minority for write in a.acknowledged)
    assert alone > 0 and sum(appender.refused for appender in minority) > 0, "writes before, refusals after"

    places.heal()
    healed = time.monotonic()
    wait_for(lambda: follows(first, primary), 60, "the old primary to follow")
    wait_for(lambda: all(appender.first_after(healed) for appender in minority), 30, "its clients to write through it")
    for appender in appenders:
        appender.stop()
    node = group.nodes[group.instances.index(primary)]
    wait_converged(node, [other for other in group.nodes if other is not node])
    books = Books(appenders, node, group.instances)
    said = books.balance()
    assert books.lost and books.unseen == 0, "all that was lost could still be read"
    print(f"\n{kind}: fenced {fenced - cut:.1f} s after the cut, with {alone} writes taken alone; writes on the other "
          f"side after {again - cut:.1f} s; {said}")


def test_behind_fault_proxies(lab, binary):
    the_primary_is_isolated(lab, "proxies")


def test_in_network_namespaces(binary):
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("network namespaces take root and ip (deploy/packages test)")
    tried = subprocess.run([*ALONE, "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")
    done = subprocess.run([*ALONE, sys.executable, __file__], capture_output=True, text=True, timeout=500)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def main():
    """In namespaces of its own."""
    lab = Lab()
    try:
        the_primary_is_isolated(lab, "namespaces")
    except BaseException:
        for process in lab.processes:
            print(f"---- log of {process.name}\n{process.log_tail()}", file=sys.stderr)
        raise
    finally:
        lab.close()


if __name__ == "__main__":
    main()
