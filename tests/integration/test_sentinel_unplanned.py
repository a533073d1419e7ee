"""The primary dies under load: its node, its instance, or both. Clients of the survivors keep their connections
and are told the truth; `-s` shows the time to the first write and what a real loss was.

SIDESTREAM_TEST_SENTINEL_LONG runs every case; without it one of them."""

import os
import threading
import time

import pytest

from harness import HOST, free_port, wait_converged, wait_for
from resp_client import ReplyError, RespClient
from sentinel import Trio, follows

CASES = ["both", "node", "instance"] if os.environ.get("SIDESTREAM_TEST_SENTINEL_LONG") else ["both"]
HONEST = ("MASTERDOWN", "READONLY", "ERR the connection to the primary broke before the reply")


class Writer:
    """Appends unique numbers over one connection that must never break; errors have to be honest ones."""

    def __init__(self, port, name):
        self.port, self.name = port, name
        self.acknowledged, self.unknown, self.times, self.fault = [], [], [], None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        number = 0
        try:
            with RespClient(self.port, timeout=30) as client:
                while not self.stopped.is_set():
                    number += 1
                    try:
                        client("RPUSH", self.name, number)
                        self.acknowledged.append(number)
                        self.times.append(time.monotonic())
                    except ReplyError as error:
                        assert str(error).startswith(HONEST), f"not honest: {error}"
                        if "unknown" in str(error):
                            self.unknown.append(number)
                    self.stopped.wait(0.002)
        except (OSError, AssertionError) as error:
            self.fault = error

    def stop(self):
        self.stopped.set()
        self.thread.join(40)
        assert self.fault is None, f"{self.name}: {self.fault!r}"

    def since(self, moment):
        return next((at - moment for at in self.times if at > moment + 0.001), None)


@pytest.mark.parametrize("victim", CASES)
def test_the_primary_dies_under_load(lab, binary, victim):
    ports = [free_port() for _ in range(3)]
    trio = Trio(lab, asks=3, per_instance=[{"service_listen": f"{HOST}:{port}"} for port in ports]).watch(3)
    first, survivors = trio.instances[0], trio.instances[1:]
    writers = [Writer(port, f"writer:{n}") for n, port in enumerate(ports[1:] * 2)]
    wait_for(lambda: all(len(writer.acknowledged) > 50 for writer in writers), 20, "the load to flow")
    died = time.monotonic()
    if victim in ("node", "both"):
        trio.nodes[0].kill()
    if victim in ("instance", "both"):
        first.kill()
    primary = trio.switched(40)
    trio.settled(primary, replicas=survivors)
    wait_for(lambda: all(writer.since(died + 0.5) for writer in writers), 20, "everybody to write again")
    if victim in ("node", "both"):
        trio.nodes[0].start().wait_up()
    if victim in ("instance", "both"):
        first.start().wait_up()
    wait_for(lambda: follows(first, primary), 60, "the old primary to follow")
    for writer in writers:
        writer.stop()
    node = trio.nodes[trio.instances.index(primary)]
    wait_converged(node, [other for other in trio.nodes if other is not node])
    lost = 0
    for writer in writers:
        found = [int(number) for number in node("LRANGE", writer.name, 0, -1)]
        assert len(set(found)) == len(found), "nothing is made twice"
        assert set(found) <= set(writer.acknowledged) | set(writer.unknown), "nothing is made that was refused"
        lost += len(set(writer.acknowledged) - set(found))
    pause = max(writer.since(died + 0.5) or 0 for writer in writers) + 0.5
    print(f"{victim}: writes again after {pause:.1f} s (Sentinel's down-after is 1 s); acknowledged and lost: {lost}")
