#!/usr/bin/env python3
"""scale_model.py: the arithmetic behind deploy/scale.md; `--write` puts its tables there, a test compares them.

Measured figures come from tests/bench/README.md; each is named where it is used. The rest is arithmetic.
"""

import math
import re
import sys
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "deploy/scale.md"

# tests/bench/README.md, Replication: CPU of the relay per GB of stream with 1 and with 8 replicas, on loopback.
CPU_ONE, CPU_EIGHT = 0.89, 1.6
CPU_REPLICA = (CPU_EIGHT - CPU_ONE) / 7
CPU_BASE = CPU_ONE - CPU_REPLICA
HOP_US = 52            # the same, latency: what one relay adds at 1,000 writes/s, p50
NETWORK = 1.1e9        # bytes/s that 10 Gbit/s carry
LOOP_SHARE = 0.7       # of one core; beyond that a burst queues
NETWORK_SHARE = 0.7


def cpu_share(replicas, rate):
    """Of one core, for a stream of `rate` bytes/s."""
    return (CPU_BASE + CPU_REPLICA * replicas) * rate / 1e9


def network_share(replicas, rate):
    return replicas * rate / NETWORK


def widest(rate):
    """How many replicas one instance feeds, and what ends it."""
    by_cpu = (LOOP_SHARE * 1e9 / rate - CPU_BASE) / CPU_REPLICA
    by_network = NETWORK_SHARE * NETWORK / rate
    return int(min(by_cpu, by_network)), "network" if by_network < by_cpu else "CPU"


def tree(replicas, fan_out):
    """Instances per level, from the top, so that nobody feeds more than `fan_out`."""
    levels, below = [], replicas
    while True:
        below = math.ceil(below / fan_out)
        levels.insert(0, below)
        if below == 1:
            return levels


def percent(share):
    return f"{share * 100:.0f} %" if share <= 1 else "**too much**"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def one_instance():
    rows = []
    for rate in (1e6, 10e6, 50e6):
        for replicas in (10, 100, 1000):
            rows.append([f"{rate / 1e6:.0f} MB/s", f"{replicas:,}", percent(cpu_share(replicas, rate)),
                         percent(network_share(replicas, rate))])
        most, end = widest(rate)
        rows.append([f"{rate / 1e6:.0f} MB/s", f"**at most {most:,}**", "", f"ends at the {end}"])
    return table(["stream", "replicas", "of one core", "of 10 Gbit/s"], rows)


def trees():
    rows = []
    for rate, fan_out in ((1e6, 300), (10e6, 50), (50e6, 12)):
        for replicas in (10, 100, 1000):
            levels = tree(replicas, fan_out)
            rows.append([f"{rate / 1e6:.0f} MB/s", f"{replicas:,}", fan_out, " + ".join(map(str, levels)),
                         f"{HOP_US * len(levels)} µs", percent(network_share(min(fan_out, replicas), rate))])
    return table(["stream", "replicas", "fan-out", "instances by level", "added latency, p50", "of 10 Gbit/s each"],
                 rows)


def full_syncs():
    rows = []
    for size in (1e9, 10e9, 50e9):
        for replicas, fan_out in ((10, 10), (100, 50), (1000, 50)):
            levels = tree(replicas, fan_out)
            fetched = 2 ** (len(levels) - 1)  # who asks while a fetch is under way waits for the next one
            direct = replicas * size / NETWORK
            through = (min(replicas, fan_out) + len(levels) - 1 + fetched - 1) * size / NETWORK
            rows.append([f"{size / 1e9:.0f} GB", f"{replicas:,}", f"{direct:,.0f} s, {replicas:,} × the dataset",
                         f"{through:,.0f} s, {fetched} ×"])
    return table(["dataset", "replicas at once", "stock: time, and what leaves the primary", "tree of 50: the same"],
                 rows)


def sentinels():
    rows = []
    for groups, members in ((1, 3), (100, 3), (300, 3), (300, 10)):
        # PING each second, INFO each ten (each second during a failover), a hello each two: to every instance.
        commands = groups * members * (1 + 0.1 + 0.5)
        links = groups * members * 2
        hellos = groups * members * 0.5 * 5
        rows.append([f"{groups:,} × {members}", f"{commands:,.0f}/s", f"{links:,}", f"{hellos:,.0f}/s"])
    return table(["groups × instances", "commands sent", "connections", "hellos received, of 5 Sentinels"], rows)


TABLES = {"one-instance": one_instance, "trees": trees, "full-syncs": full_syncs, "sentinels": sentinels}


def with_tables(text):
    for name, make in TABLES.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        assert re.search(pattern, text, re.S), f"no place for the table {name}"
        text = re.sub(pattern, lambda match, made=make(): match[1] + made + "\n" + match[2], text, flags=re.S)
    return text


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
    else:
        for name, make in TABLES.items():
            print(f"{name}\n{make()}\n")
