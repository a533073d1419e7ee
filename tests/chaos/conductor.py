"""A group of real servers behind one instance, and what may happen to it: the conductor decides by seed.

Happy path: Stage(lab) starts a primary and two replicas, each behind a fault proxy that the instance takes for the
server, and the instance, whose stream reaches them through one more. Conductor.play(seconds) makes one trouble after
the other, puts everything right again after each, and ends with a planned and an unplanned promotion when asked to.
Failure modes: what does not recover in time raises AssertionError from the harness; lost writes are ledger findings.
"""

import random
import time
from collections import Counter

from applications import clock, number_in
from fault_proxy import FaultProxy
from harness import HOST, converged, wait_for
from resp_client import ReplyError

RECOVERS_WITHIN = 90      # seconds; long, since a busy machine is no finding


class Stage:
    """The servers and the instance. `primary` changes with promotions; `replicas` are the others."""

    def __init__(self, lab, **config):
        self.lab = lab
        self.doors, self.nodes = {}, []
        for _ in range(3):
            door = lab.closing(FaultProxy(0))
            node = lab.server(repl_ping_replica_period=1, replica_announce_port=door.port, replica_announce_ip=HOST)
            door.target = node.port
            self.doors[node] = door
            self.nodes.append(node)
        self.primary = self.nodes[0]
        self.stream = lab.closing(FaultProxy(0))
        self.instance = lab.instance([{"address": f"{HOST}:{self.doors[node].port}"} for node in self.nodes],
                                     start=False, announce_port=self.stream.port, announce_ip=HOST, **config)
        self.service_port = int(self.instance.config["service-listen"].rsplit(":", 1)[1])
        self.stream.target = self.instance.port
        self.instance.start().wait_up().wait_online(RECOVERS_WITHIN)

    @property
    def replicas(self):
        return [node for node in self.nodes if node is not self.primary]

    def state_of(self, node):
        address = f"{HOST}:{self.doors[node].port}"
        return next(one["state"] for one in self.instance.status()["nodes"] if one["address"] == address)

    def healed(self):
        for proxy in (self.stream, *self.doors.values()):
            proxy.delay, proxy.delays, proxy.refusing = 0.0, {}, False
            proxy.resume()
        for node in self.nodes:
            if node.alive():
                node.resume()

    def wait_whole(self):
        """Everybody is there, and follows."""
        wait_for(self.online, RECOVERS_WITHIN, "all nodes online")
        for node in self.replicas:
            node.wait_link(RECOVERS_WITHIN)

    def online(self):
        """A replica may have come back from a snapshot that is two promotions old: its history is one that nobody can
        place any more, so the instance leaves it alone. Its operator knows that it is only old, and empties it.
        """
        for node in self.replicas:
            if node.alive() and self.state_of(node) == "foreign":
                node("FLUSHALL")
        return self.instance.nodes_online()

    def wait_equal(self):
        wait_for(lambda: converged(self.primary, self.replicas), RECOVERS_WITHIN, "equal data on all nodes")


class Conductor:
    """Plays troubles on a stage; what it did stands in `counts`, pauses of the service in `pauses` (seconds)."""

    TROUBLES = {"lag": 3, "stall_stream": 2, "cut_stream": 2, "freeze_replica": 2, "kill_replica": 1, "cut_replica": 2,
                "stall_replica": 2, "cut_primary": 1, "kill_connections": 1, "freeze_primary": 1}
    LIGHT = {"lag": 3, "stall_stream": 1, "cut_stream": 1, "freeze_replica": 1, "cut_replica": 1, "kill_replica": 1}

    def __init__(self, stage, ledger, seed, troubles=None):
        self.stage, self.ledger, self.rng = stage, ledger, random.Random(seed)
        self.troubles = troubles or self.TROUBLES
        self.counts, self.pauses, self.lost, self.timeline = Counter(), [], [], []

    def play(self, seconds, promotions=True, rest=0.3):
        """`promotions`: a planned and an unplanned one, again and again if there is time."""
        began = time.monotonic()
        due = [began + seconds * part for part in ((0.3, 0.6) if seconds < 30 else (0.15, 0.35, 0.55, 0.75))]
        names, weights = list(self.troubles), list(self.troubles.values())
        planned = True
        while time.monotonic() < began + seconds:
            if promotions and due and time.monotonic() > due[0]:
                due.pop(0)
                self.trouble("planned_promotion" if planned else "unplanned_promotion")
                planned = not planned
            else:
                self.trouble(self.rng.choices(names, weights)[0])
            time.sleep(rest * 2 * self.rng.random())
        self.stage.wait_whole()

    def trouble(self, name):
        self.counts[name] += 1
        began = clock()
        try:
            getattr(self, name)()
        finally:
            self.timeline.append(f"{began} to {clock()} {name}")
        self.stage.healed()

    def some_replica(self):
        return self.rng.choice(self.stage.replicas)

    def lag(self):
        self.stage.stream.delays = {"down": self.rng.choice((0.02, 0.1, 0.3)), "up": self.rng.choice((0, 0.05))}
        time.sleep(self.rng.uniform(0.3, 1.2))

    def stall_stream(self):
        self.stage.stream.stall(self.rng.choice(("up", "down")))
        time.sleep(self.rng.uniform(0.2, 1.0))

    def cut_stream(self):
        self.stage.stream.cut()

    def freeze_replica(self):
        self.some_replica().pause()
        time.sleep(self.rng.uniform(0.2, 1.5))

    def kill_replica(self):
        victim = self.some_replica()
        victim.kill()
        time.sleep(self.rng.uniform(0.1, 0.5))
        victim.start().wait_up(RECOVERS_WITHIN)

    def cut_replica(self):
        self.stage.doors[self.some_replica()].cut()

    def stall_replica(self):
        self.stage.doors[self.some_replica()].stall(self.rng.choice(("up", "down")))
        time.sleep(self.rng.uniform(0.2, 1.0))

    def cut_primary(self):
        self.stage.doors[self.stage.primary].cut()

    def kill_connections(self):
        self.stage.primary("CLIENT", "KILL", "TYPE", "normal")

    def freeze_primary(self):
        self.stage.primary.pause()
        time.sleep(self.rng.uniform(0.1, 0.5))

    # ---- promotions

    def planned_promotion(self):
        """By an operator at the nodes: hold the writes, wait until the new one is level, turn the roles round.

        The old one first, and the new one only when the instance knows: two primaries at a time are one mistake too
        many, and the instance would take the younger one back.
        """
        stage = self.stage
        stage.wait_whole()
        old, new = stage.primary, self.some_replica()
        began = time.monotonic()
        old("CLIENT", "PAUSE", 60000, "WRITE")
        wait_for(lambda: new.offset() >= old.offset(), RECOVERS_WITHIN, "the new primary to be level")
        old.replicaof(stage.stream)
        wait_for(lambda: "became a replica" in stage.instance.status()["trouble"], RECOVERS_WITHIN, "it to be noticed")
        new.replicaof(None)
        old("CLIENT", "UNPAUSE")
        self.adopt(new, began)

    def unplanned_promotion(self):
        """The primary dies, an operator promotes the node that has most. What it had not got is lost, and counted."""
        stage, ledger = self.stage, self.ledger
        stage.wait_whole()
        old = stage.primary
        ledger.blind = True
        began = time.monotonic()
        old.kill()
        wait_for(lambda: stage.state_of(old) != "online" and self.steady(), RECOVERS_WITHIN, "the loss to be seen")
        acked = [promise.acked for promise in ledger.keys]
        new = max(stage.replicas, key=lambda node: node.offset())
        new.replicaof(None)
        self.adopt(new, began)
        # What it has is of another history now: the instance would rightly leave it alone.
        (old.dir / "dump.rdb").unlink(missing_ok=True)
        old.start().wait_up(RECOVERS_WITHIN)
        stage.wait_whole()
        self.rebase(acked)
        ledger.epoch += 1
        ledger.blind = False

    def steady(self):
        offsets = [node.offset() for node in self.stage.replicas]
        time.sleep(0.1)
        return offsets == [node.offset() for node in self.stage.replicas]

    def adopt(self, new, began):
        self.stage.primary = new
        wait_for(lambda: self.stage.instance("SET", "conductor", "x") == "OK" and new("GET", "conductor"),
                 RECOVERS_WITHIN, "writes at the new primary")
        self.pauses.append(time.monotonic() - began)

    def rebase(self, acked):
        """From here on what the new primary has is what was promised."""
        lost = 0
        with self.stage.primary.client(timeout=30) as client:
            for key, promise in enumerate(self.ledger.keys):
                number = number_in(key, client("GET", f"k:{key}"))
                lost += max(0, acked[key] - number)
                promise.acked, promise.seen = min(promise.acked, number), number
            for name, promise in self.ledger.counters.items():
                promise.acked = min(promise.acked, int(client("GET", name) or 0))
        self.lost.append(lost)

    # ---- the end

    def audit(self):
        """At rest: all nodes are equal, every acknowledged write is there, and nothing that was never sent."""
        self.stage.healed()
        self.stage.wait_whole()
        self.stage.wait_equal()
        with self.stage.primary.client(timeout=30) as client:
            for key, promise in enumerate(self.ledger.keys):
                number = number_in(key, client("GET", f"k:{key}"))
                if number is None or not promise.acked <= number <= promise.issued:
                    self.ledger.wrong("lost", f"k:{key} ends as {number}, acknowledged {promise.acked}, issued "
                                              f"{promise.issued}")
            for name, promise in self.ledger.counters.items():
                number = int(client("GET", name) or 0)
                if not promise.acked <= number <= promise.issued:
                    self.ledger.wrong("lost", f"{name} ends as {number}, acknowledged {promise.acked}, issued "
                                              f"{promise.issued}")


def process_figures(process):
    """Resident kilobytes and open descriptors of a child."""
    import os
    from pathlib import Path
    proc = Path(f"/proc/{process.process.pid}")
    resident = next(line for line in (proc / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(resident.split()[1]), len(os.listdir(proc / "fd"))


def percentile(samples, part):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def fetch_status(instance):
    try:
        return instance.status()
    except (OSError, ReplyError):
        return None
