"""The history on disk: restarts and long absences cost a partial resync, in the memory of a few blocks."""

import os
import random
import time

import pytest

from fault_proxy import FaultProxy
from harness import wait_converged, wait_for
from load import Load, fill

MEGABYTE = 1 << 20
FULL_SIZE = bool(os.environ.get("SIDESTREAM_TEST_FULL_SIZE"))  # minutes instead of seconds


def rss(process):
    for line in open(f"/proc/{process.process.pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def write_megabytes(server, instance, count, tag="bulk"):
    """On keys that repeat: the stream is larger than the dataset. No faster than the disk, however slow it is."""
    with server.client() as client:
        for number in range(count):
            client("SET", f"{tag}:{number % 8}", os.urandom(MEGABYTE))
            if number % 4 == 3:
                on_disk(instance, server)


def chain(lab, **config):
    """(primary, instance, replica): the instance keeps little in memory and much on disk."""
    primary = lab.server(name="primary", repl_backlog_size="1mb")
    config = {"repl_backlog_size": "1mb", "repl_backlog_disk_size": "128mb", **config}
    instance = lab.instance([primary], **config)
    replica = lab.server(name="replica")
    replica.replicaof(instance)
    replica.wait_link()
    with primary.client() as client:
        fill(client, 1)
    wait_converged(primary, [replica])
    return primary, instance, replica


def on_disk(instance, primary):
    """The stream has reached the instance, and its disk."""
    wait_for(lambda: instance.offset() == primary.offset(), 20, "the stream to arrive")
    wait_for(lambda: instance.status()["backlog"]["disk_lag_bytes"] == 0, 20, "the disk to have it")


def restart(instance, how):
    if how == "kill":
        instance.kill()
    else:
        assert instance.terminate() == 0
    instance.start().wait_up()


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_restart_costs_no_full_resync(lab, how):
    """The replica is 12 MB behind when the instance goes: only the disk still has what it needs."""
    primary, instance, replica = chain(lab)
    replica.pause()
    write_megabytes(primary, instance, 12)
    on_disk(instance, primary)
    before = instance.offset()
    restart(instance, how)
    assert instance.offset() >= before - MEGABYTE
    write_megabytes(primary, instance, 1, "later")
    replica.resume()
    wait_converged(primary, [replica])
    counters = instance.counters()
    assert (counters["full_syncs"], counters["upstream_full_syncs"]) == (0, 0)
    assert counters["partial_syncs"] >= 1


def test_the_upstream_may_be_away_when_the_instance_comes_back(lab):
    """What the instance has it serves at once; nobody needs the primary for that."""
    primary, instance, replica = chain(lab)
    replica.pause()
    write_megabytes(primary, instance, 5)
    on_disk(instance, primary)
    expected = (primary.digest(), primary.replid())
    instance.kill()
    primary.pause()
    instance.start().wait_up()
    replica.resume()
    wait_for(lambda: (replica.digest(), replica.replid()) == expected, 30, "the replica to have what the disk had")
    primary.resume()
    wait_converged(primary, [replica])
    assert instance.counters()["full_syncs"] == 0


def test_a_frozen_replica_costs_a_cursor(lab):
    """It stands still while far more is written than memory holds; then it goes on from disk."""
    frozen_s, megabytes = (60, 1024) if FULL_SIZE else (0, 60)
    primary, instance, replica = chain(lab, repl_backlog_size="8mb", repl_backlog_disk_size="2gb")
    write_megabytes(primary, instance, 40, "warm")  # the memory tier is full before it is measured
    wait_converged(primary, [replica])
    before = rss(instance)
    replica.pause()
    thaws_at = time.monotonic() + frozen_s
    write_megabytes(primary, instance, megabytes)
    wait_for(lambda: instance.offset() == primary.offset(), 20, "the stream to arrive")
    most = rss(instance) - before
    time.sleep(max(0, thaws_at - time.monotonic()))
    replica.resume()
    wait_converged(primary, [replica])
    most = max(most, rss(instance) - before)
    print(f"{megabytes} MB behind a replica frozen for {frozen_s} s: {most / MEGABYTE:.1f} MB of memory more")
    assert most < 20 * MEGABYTE, f"{most} bytes for a frozen replica"
    assert instance.counters()["full_syncs"] == 1, "the first sync"


def test_a_damaged_segment_costs_only_what_it_held(lab):
    primary, instance, behind = chain(lab)
    near = lab.server(name="near")
    near.replicaof(instance)
    near.wait_link()
    behind.pause()
    write_megabytes(primary, instance, 30)
    wait_converged(primary, [near])
    on_disk(instance, primary)
    instance.kill()
    segments = sorted((instance.dir / "data" / "backlog").iterdir())
    assert len(segments) >= 3
    spoilt = segments[1]
    data = bytearray(spoilt.read_bytes())
    data[len(data) // 2] ^= 0xFF
    spoilt.write_bytes(data)
    instance.start().wait_up()
    wait_converged(primary, [near])
    assert instance.counters()["full_syncs"] == 0
    behind.resume()
    wait_converged(primary, [behind])
    assert instance.counters()["full_syncs"] == 1
    assert "damaged" in instance.log_text()


def test_the_disk_is_bounded(lab):
    primary, instance, _ = chain(lab, repl_backlog_disk_size="8mb")
    for _ in range(3):
        write_megabytes(primary, instance, 10)
        wait_for(lambda: instance.offset() == primary.offset(), 20, "the stream to arrive")
    used = lambda: sum(path.stat().st_size for path in (instance.dir / "data" / "backlog").iterdir())
    wait_for(lambda: used() < 9.5 * MEGABYTE, 10, "old segments to go")
    backlog = instance.status()["backlog"]
    assert backlog["histlen"] > 4 * MEGABYTE and backlog["disk_bytes"] <= 9.5 * MEGABYTE


def test_a_disk_that_cannot_be_written_stops_nobody(lab):
    """The directory vanishes under the instance: history in memory goes on, and it says what is wrong."""
    primary, instance, replica = chain(lab)
    directory = instance.dir / "data" / "backlog"
    directory.rename(instance.dir / "elsewhere")
    directory.write_text("not a directory")
    with primary.client() as client:
        for number in range(20):
            client("SET", f"bulk:{number}", os.urandom(MEGABYTE))
    wait_converged(primary, [replica])
    wait_for(lambda: instance.status()["backlog"]["disk_trouble"] != "", 20, "the trouble to be told")
    directory.unlink()
    directory.mkdir()
    wait_for(lambda: instance.status()["backlog"]["disk_trouble"] == "", 20, "the disk to be used again")
    write_megabytes(primary, instance, 1)
    wait_converged(primary, [replica])
    assert instance.counters()["full_syncs"] <= 1


def test_history_that_nobody_wants_is_released(lab):
    """repl-backlog-ttl counts from the last replica's end; our own place in the upstream's history stays."""
    primary, instance, replica = chain(lab, repl_backlog_ttl=2)
    write_megabytes(primary, instance, 4)
    time.sleep(3)
    assert instance.status()["backlog"]["histlen"] > 3 * MEGABYTE, "a replica is attached"
    replica.kill()
    wait_for(lambda: instance.status()["backlog"]["histlen"] < MEGABYTE, 20, "the history to be released")
    wait_for(lambda: instance.status()["backlog"]["disk_bytes"] < MEGABYTE, 20, "its segments to go")
    with primary.client() as client:
        client("SET", "later", "x")
    restart(instance, "kill")
    later = lab.server(name="later")
    later.replicaof(instance)
    later.wait_link()
    wait_converged(primary, [later])
    assert instance.counters()["upstream_full_syncs"] == 0


def test_kill_and_cut_at_random_moments(lab):
    """Instance, nodes, replicas and links die again and again under load; the backlog reaches, so nobody is sent a
    dataset. The primary is none of them: what its death costs is a matter of its own persistence."""
    rounds = int(os.environ.get("SIDESTREAM_TEST_CRASHES", "20"))
    rng = random.Random(11)
    primary = lab.server(name="primary", repl_backlog_size="64mb")
    node = lab.server(name="node")
    up = lab.closing(FaultProxy(primary.port))
    instance = lab.instance([{"address": f"127.0.0.1:{up.port}"}, node], repl_backlog_size="1mb",
                            repl_backlog_disk_size="512mb")
    down = lab.closing(FaultProxy(instance.port))
    replicas = lab.servers(2)
    for replica, port in zip(replicas, (instance.port, down.port)):
        replica.replicaof(port)
        replica.wait_link()
        replica.options["replicaof"] = ("127.0.0.1", port)
    node.options["replicaof"] = ("127.0.0.1", instance.port)
    followers = [node, *replicas]
    full, done = 0, {}
    with Load(primary.port, threads=2, pause=0.002, large=1 << 18):
        for _ in range(rounds):
            time.sleep(rng.uniform(0.02, 0.4))
            kind = rng.choice(["instance", "instance", "follower", "follower", "upstream link", "replica link",
                               "freeze"])
            done[kind] = done.get(kind, 0) + 1
            if kind == "instance":
                full += instance.counters()["full_syncs"]
                instance.kill()
                time.sleep(rng.uniform(0, 0.3))
                instance.start().wait_up()
            elif kind == "follower":
                victim = rng.choice(followers)
                victim.save()  # its RDB holds replid and offset
                victim.kill()
                victim.start().wait_up()  # as a replica: only then it reads them
            elif kind.endswith("link"):
                (up if kind.startswith("up") else down).cut()
            else:
                replicas[0].pause()
                time.sleep(rng.uniform(0, 0.5))
                replicas[0].resume()
    wait_converged(primary, followers, 60)
    full += instance.counters()["full_syncs"]
    print(f"{rounds} rounds {done}: {full} full resyncs, {len(followers)} of them the first")
    assert full == len(followers), "the first syncs, and no other"
    assert instance.alive()
