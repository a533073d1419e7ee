"""Clients that keep the books while a primary dies or is cut off: what was acknowledged, what is unknown, and when.

Happy path: `appenders = [Appender(process, port, name) ...]`, things happen, `Books(appenders, node, [instance ...])`
after `stop()`: what the node holds now, what was acknowledged and is not there, and what the ledgers say was lost.
Failure modes: an error that is not an honest one, or a connection that breaks where it may not, is raised by stop().
"""

import threading
import time
from typing import NamedTuple

from resp_client import ReplyError, RespClient, parse

HONEST = ("MASTERDOWN", "READONLY", "ERR the connection to the primary broke before the reply")


class Write(NamedTuple):
    number: int
    begun: float
    ended: float


class Appender:
    """Appends unique numbers to a list of its own over one connection. `mortal`: that of a process which is killed."""

    def __init__(self, process, port, name, mortal=False, pause=0.002):
        self.process, self.port, self.name, self.mortal, self.pause = process, port, name, mortal, pause
        self.acknowledged, self.unknown, self.refused, self.fault = [], [], 0, None
        self.stopped, self.may_go = threading.Event(), threading.Event()
        self.may_go.set()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        number = 0
        try:
            with self.process.reach():
                client = RespClient(self.port, host=self.process.host, timeout=60)
            with client:
                while not self.stopped.is_set():
                    self.may_go.wait()
                    number += 1
                    self.append(client, number)
                    self.stopped.wait(self.pause)
        except (OSError, AssertionError) as error:
            self.unknown.append(number)
            if not (self.mortal and isinstance(error, ConnectionError)):
                self.fault = error

    def append(self, client, number):
        begun = time.monotonic()
        try:
            client("RPUSH", self.name, number)
            self.acknowledged.append(Write(number, begun, time.monotonic()))
        except ReplyError as error:
            assert str(error).startswith(HONEST), f"not honest: {error}"
            if "unknown" in str(error):
                self.unknown.append(number)
            else:
                self.refused += 1

    def rest(self):
        self.may_go.clear()

    def go(self):
        self.may_go.set()

    def stop(self):
        self.stopped.set()
        self.may_go.set()
        self.thread.join(70)
        assert self.fault is None, f"{self.name}: {self.fault!r}"

    def flows(self, writes=20):
        """A condition: so many more are acknowledged than now."""
        wanted = len(self.acknowledged) + writes
        return lambda: self.fault or len(self.acknowledged) >= wanted

    def first_after(self, moment):
        """When the first write that began then was acknowledged."""
        return next((write.ended for write in list(self.acknowledged) if write.begun > moment), None)


def commands_of(data):
    """The commands of a RESP file, as they stood in the stream."""
    at = 0
    while at < len(data):
        command, at = parse(data, at)
        yield command


class Books:
    def __init__(self, appenders, node, instances):
        self.found = {(a.name, int(number)) for a in appenders for number in node("LRANGE", a.name, 0, -1)}
        held = sum(node("LLEN", a.name) for a in appenders)
        assert len(self.found) == held, "nothing is made twice"
        self.acknowledged = {(a.name, write.number) for a in appenders for write in a.acknowledged}
        self.unknown = {(a.name, number) for a in appenders for number in a.unknown}
        self.lost = self.acknowledged - self.found
        self.counted = self.unseen = 0
        self.exported = []
        for instance in instances:
            count, unseen, *_ = instance("SIDESTREAM", "LOST")
            self.counted, self.unseen = self.counted + count, self.unseen + unseen
            for path in (instance.dir / "data").glob("lost-*.resp"):
                if path.name.endswith(".untouched.resp"):
                    continue
                pushes = [words for words in commands_of(path.read_bytes()) if words[0] == b"RPUSH"]
                self.exported += [(name.decode(), int(number)) for _, name, number in pushes]

    def balance(self):
        """What was acknowledged and lost is in the ledger, all of it; besides, only what nobody got an answer for."""
        assert self.found <= self.acknowledged | self.unknown, "nothing is made that was refused"
        assert len(self.exported) == len(set(self.exported)) == self.counted, "the ledger counts what it exports"
        missing = self.lost - set(self.exported)
        assert not missing or self.unseen > 0, f"{len(missing)} lost that the ledger lacks: {sorted(missing)[:5]}"
        assert not set(self.exported) & self.found, "the ledger has nothing that is there"
        assert set(self.exported) - self.lost <= self.unknown, "and nothing that nobody wrote"
        return (f"{len(self.acknowledged)} acknowledged, {len(self.lost)} of them lost; the ledger has {self.counted} "
                f"({len(self.unknown)} unanswered in all, {self.unseen} bytes unseen)")
