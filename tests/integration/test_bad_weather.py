"""Freshness and honesty while things break: what was acknowledged is read, or an error is returned, never an old value.

Each client owns keys that only it writes, so it knows what a read may return: the last acknowledged value, or a later
one whose outcome is unknown because its reply was an error.
"""

import random
import threading
import time

import pytest

from fault_proxy import FaultProxy
from harness import HOST, stays, wait_for
from resp_client import ReplyError, RespClient


class Owner:
    """A client with keys of its own. Reads and writes until told to stop; collects what must not happen."""

    def __init__(self, ports, seed):
        self.ports, self.rng, self.seed = ports, random.Random(seed), seed
        self.possible = {}                   # key -> values a read may return; the last acknowledged one first
        self.stale, self.reads, self.errors = [], 0, 0

    def key(self):
        return f"weather:{self.seed}:{self.rng.randrange(20)}"

    def batch(self):
        commands = []
        for _ in range(self.rng.randrange(1, 12)):
            if self.rng.random() < 0.5:
                commands.append(("SET", self.key(), b"%d" % self.rng.getrandbits(48)))
            else:
                commands.append(("GET", self.key()))
        return commands

    def judge(self, command, reply, unknown=()):
        known = self.possible.setdefault(command[1], [None])
        if isinstance(reply, ReplyError):
            self.errors += 1
            if command[0] == "SET":
                known.append(command[2])     # it may have been written, now or a little later
        elif command[0] == "SET":
            self.possible[command[1]] = [command[2]]
        else:
            self.reads += 1
            if reply not in known and (command[1], reply) not in unknown:
                self.stale.append((command[1], reply, known))

    def step(self, client):
        commands = self.batch()
        answered = 0
        try:
            replies = client.pipeline(commands)
            # A read that was retried may see a write behind it in the pipeline, if that one's outcome is unknown.
            unknown = {(c[1], c[2]) for c, r in zip(commands, replies) if c[0] == "SET" and isinstance(r, ReplyError)}
            for command, reply in zip(commands, replies):
                self.judge(command, reply, unknown)
                answered += 1
        except OSError:
            for command in commands[answered:]:
                if command[0] == "SET":
                    self.possible.setdefault(command[1], [None]).append(command[2])
            raise

    def run(self, stop):
        while not stop.is_set():
            try:
                with RespClient(self.rng.choice(self.ports), timeout=20) as client:
                    for _ in range(200):
                        if stop.is_set():
                            return
                        self.step(client)
            except OSError:
                self.errors += 1
                time.sleep(0.01)


def in_weather(ports, owners, weather):
    """Runs the owners while weather() happens; returns them."""
    stop = threading.Event()
    crowd = [Owner(ports, seed) for seed in range(owners)]
    threads = [threading.Thread(target=owner.run, args=(stop,), daemon=True) for owner in crowd]
    for thread in threads:
        thread.start()
    try:
        weather()
    finally:
        stop.set()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive(), "a client hangs"
    return crowd


def judged(crowd):
    assert [found for owner in crowd for found in owner.stale] == []
    assert sum(owner.reads for owner in crowd) > 500


def test_the_judge_finds_stale_reads(lab):
    """The test's own test: the same crowd with reads at a lagging stock replica."""
    primary = lab.server()
    proxy = lab.closing(FaultProxy(primary.port))
    replica = lab.server()
    replica.replicaof(proxy)
    replica.wait_link()
    proxy.delays = {"down": 0.2}
    owner = Owner([primary.port], 1)
    with primary.client() as writer, replica.client() as reader:
        for _ in range(100):
            for command in owner.batch():
                owner.judge(command, (writer if command[0] == "SET" else reader).pipeline([command])[0])
    assert owner.stale


@pytest.fixture
def group(lab, binary):
    """(instance, primary, way to the primary, replicas, ways from the instance to the replicas)."""
    primary, node = lab.servers(2)
    way = lab.closing(FaultProxy(primary.port))
    instance = lab.instance([{"address": f"{HOST}:{way.port}"}, node])
    link = lab.closing(FaultProxy(instance.port))
    other = lab.server()
    other.replicaof(link)
    other.wait_link()
    return instance, primary, way, [node, other], link


def test_replication_links_break_lag_and_stall(group):
    instance, _, _, replicas, link = group
    rng = random.Random(1)

    def weather():
        for _ in range(12):
            link.delays = {"down": rng.choice((0, 0, 0.05, 0.2)), "up": rng.choice((0, 0.1))}
            rng.choice((link.cut, lambda: link.stall("down"), lambda: link.stall("up"), link.resume))()
            time.sleep(0.2)
            replicas[0]("CLIENT", "KILL", "TYPE", "master")
            time.sleep(0.2)
            link.resume()
    crowd = in_weather([instance.port], 4, weather)
    judged(crowd)
    assert sum(owner.errors for owner in crowd) == 0, "no client needs to notice"


def test_replicas_freeze_die_and_come_back(group):
    instance, _, _, replicas, _ = group

    def weather():
        for number in range(4):
            victim = replicas[number % 2]
            victim.pause()
            time.sleep(0.4)
            victim.resume()
            time.sleep(0.2)
            if number == 1:
                victim.kill()
                time.sleep(0.3)
                victim.start().wait_up()
    crowd = in_weather([instance.port], 4, weather)
    judged(crowd)
    assert sum(owner.errors for owner in crowd) == 0, "no client needs to notice"


def test_the_primarys_connections_break(group):
    instance, primary, way, _, _ = group

    def weather():
        for number in range(8):
            time.sleep(0.25)
            (way.cut if number % 2 else lambda: primary("CLIENT", "KILL", "TYPE", "normal"))()
    crowd = in_weather([instance.port], 4, weather)
    judged(crowd)
    assert wait_for(lambda: instance("SET", "k", "v"), 10, "writes again") == "OK"


def test_a_short_freeze_of_the_primary_is_only_a_pause(group):
    instance, primary, _, _, _ = group

    def weather():
        for _ in range(3):
            primary.pause()
            time.sleep(0.4)
            primary.resume()
            time.sleep(0.4)
    crowd = in_weather([instance.port], 4, weather)
    judged(crowd)
    assert sum(owner.errors for owner in crowd) == 0


def test_promotions_between_two_instances(lab, binary):
    """The role moves to and fro by plain REPLICAOF while writes pause: errors may happen, old values never."""
    nodes = lab.servers(2)
    first = lab.instance([nodes[0]], name="instance-first")
    second = lab.instance([nodes[1]], name="instance-second", replicaof=first)
    second.wait_link()
    sides = [first, second]

    def weather():
        for turn in range(4):
            old, new = sides[turn % 2], sides[(turn + 1) % 2]
            time.sleep(0.4)
            node, other = nodes[turn % 2], nodes[(turn + 1) % 2]
            node("CLIENT", "PAUSE", 20000, "WRITE")
            wait_for(lambda n=node, o=other: o.offset() >= n.offset(), 10, "the new side to be level")
            assert new("REPLICAOF", "NO", "ONE") == "OK"
            assert old("REPLICAOF", HOST, new.port) == "OK"
            node("CLIENT", "UNPAUSE")
            wait_for(lambda o=old: o.link_up(), 20, "the old side to follow")
    crowd = in_weather([first.port], 3, weather)
    judged(crowd)
    wait_for(lambda: first.offset() == second.offset(), 10, "both sides to be level")
    assert first.replid() == second.replid()
    stays(lambda: nodes[0].role() != nodes[1].role(), 0.5, "one primary")
