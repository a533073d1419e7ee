"""Every layout and every planned way to move the primary, with writers that would notice: no error, nothing lost,
nothing twice, everybody by partial resync. (Sentinel's planned failover is in test_sentinel_switch.py.)

SIDESTREAM_SWITCH_ROUNDS says how often; `-s` shows the longest pauses. Not a way in every layout:
  gateway, drain      nobody below it could take the role; its nodes keep theirs while it is away
  gateway, Sentinel   what Sentinel promotes there is a stock server, which cannot ask the former primary to hand over:
  stock, Sentinel     that failover loses what Sentinel's always loses, and the ledger has it
"""

import os

import pytest

from harness import wait_for
from layouts import LAYOUTS
from writers import Writers

ROUNDS = int(os.environ.get("SIDESTREAM_SWITCH_ROUNDS") or 2)
CASES = [("gateway", "switch"), ("gateway", "by_hand"), ("sidecars", "switch"), ("sidecars", "by_hand"),
         ("sidecars", "drain"), ("stock", "switch"), ("stock", "by_hand"), ("stock", "drain")]


def full_syncs(layout):
    return sum(server.stat("sync_full") for server in layout.everybody)


@pytest.mark.parametrize("name, way", CASES, ids=["-".join(case) for case in CASES])
def test_writers_notice_nothing(lab, binary, name, way):
    config = {"drain": {"hand-over": "replica" if name == "stock" else "instance"}} if way == "drain" else {}
    layout = LAYOUTS[name](lab, **config)
    layout.settled()
    full = full_syncs(layout)
    with Writers(layout.ports, moves=way == "drain") as writers:
        for number in range(ROUNDS if way == "drain" else 2 * ROUNDS):
            writers.go_on()
            with writers.watched("there" if number % 2 == 0 else "back"):
                getattr(layout, way)(number)
            layout.settled()
        writers.go_on()
    print(f"\n{name}, {way}: {writers.report()}")
    writers.verify(layout.primary())
    wait_for(lambda: len({server.digest() for server in layout.everybody}) == 1, 20, "equal data")
    assert full_syncs(layout) == full, "everybody goes on by partial resync"
