"""Snapshots as a possession: one for everybody, also after a restart, within bounds, admitted in an orderly way."""


import os
import time
import urllib.request

import pytest

from fake_primary import FakePrimary
from fake_replica import FakeReplica
from harness import wait_converged, wait_for
from load import fill
from tiny_rdb import make_rdb

MEGABYTE = 1 << 20
DATASET_MB = 300 if os.environ.get("SIDESTREAM_TEST_FULL_SIZE") else 12


def scene(lab, megabytes=2, **config):
    primary = lab.server(name="primary", repl_ping_replica_period=3600)
    with primary.client() as client:
        fill(client, megabytes)
    config = {"repl_backlog_disk_size": "64mb", **config}
    return primary, lab.instance([primary], **config)


def attach(lab, front, count=1, **options):
    replicas = lab.servers(count, **options)
    for replica in replicas:
        replica.replicaof(front)
    for replica in replicas:
        replica.wait_link(30)
    return replicas


def snapshot_files(instance, suffix="rdb"):
    return sorted((instance.dir / "data").glob(f"snapshot-*.{suffix}"))


def labelled(instance):
    """The snapshot has its label: from now on it survives a kill -9."""
    wait_for(lambda: all(path.stat().st_size > 0 for path in snapshot_files(instance, "label"))
             and len(snapshot_files(instance, "label")) == len(snapshot_files(instance)) > 0, 10, "the label")


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_snapshot_survives_a_restart(lab, how):
    primary, instance = scene(lab)
    first, = attach(lab, instance)
    labelled(instance)
    wait_for(lambda: instance.status()["backlog"]["disk_lag_bytes"] == 0, 20, "the disk to have the stream")
    forks = primary.stat("total_forks")
    first.kill()
    if how == "kill":
        instance.kill()
    else:
        assert instance.terminate() == 0
    instance.start().wait_up()
    instance.wait_online()
    with primary.client() as client:
        client("SET", "later", "x")
    replicas = attach(lab, instance, 2)
    wait_converged(primary, replicas)
    assert instance.counters()["snapshots_fetched"] == 0
    assert primary.stat("total_forks") == forks


def test_a_damaged_snapshot_is_not_served(lab):
    primary, instance = scene(lab)
    attach(lab, instance)
    labelled(instance)
    wait_for(lambda: instance.status()["backlog"]["disk_lag_bytes"] == 0, 20, "the disk to have the stream")
    instance.kill()
    path, = snapshot_files(instance)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    instance.start().wait_up()
    replicas = attach(lab, instance)
    wait_converged(primary, replicas)
    assert instance.counters()["snapshots_fetched"] == 1
    assert "damaged" in instance.log_text()


def test_a_snapshot_beyond_max_disk_is_refused_in_words(lab):
    primary, instance = scene(lab, snapshot={"max-disk": "1mb"})
    replica = lab.server(name="replica")
    replica.replicaof(instance)
    wait_for(lambda: "snapshot.max-disk" in instance.log_text(), 20, "the reason in the log")
    assert not replica.link_up()
    assert instance("CONFIG", "SET", "snapshot.max-disk", "100mb") == "OK"
    replica.wait_link(30)
    wait_converged(primary, [replica])
    assert sum(path.stat().st_size for path in snapshot_files(instance)) < 100 * MEGABYTE


class Attaching:
    """A scripted replica that has asked for everything, and takes what comes."""

    def __init__(self, port, listening_port):
        self.replica = FakeReplica(port, listening_port, timeout=30)
        self.replica.send("PSYNC", "?", -1)
        self.got = bytearray()

    def pump(self):
        self.replica.socket.settimeout(0.001)
        try:
            while True:
                self.replica._fill()
        except (TimeoutError, BlockingIOError):
            pass
        self.got += self.replica._data
        self.replica._data.clear()
        return self.complete()

    def close(self):
        self.replica.close()

    def complete(self):
        """The payload, or nothing yet."""
        start = self.got.find(b"$")
        end = self.got.find(b"\r\n", start)
        if start < 0 or end < 0:
            return None
        kind, rest = bytes(self.got[start + 1:end]), self.got[end + 2:]
        if kind.startswith(b"EOF:"):
            return bytes(rest[:-40]) if rest.endswith(kind[4:]) else None
        return bytes(rest[:int(kind)]) if len(rest) >= int(kind) else None


def states(instance):
    return [replica["state"] for replica in instance.status()["replicas"]]


def test_fifty_replicas_at_once_are_a_queue(lab):
    primary, instance = scene(lab, full_sync_max_concurrent=3, full_sync_rate="8mb")
    forks = primary.stat("total_forks")
    crowd = [lab.closing(Attaching(instance.port, 7000 + n)) for n in range(50)]
    most, queued, order = 0, 0, []
    deadline = time.monotonic() + 240
    while len(order) < len(crowd):
        assert time.monotonic() < deadline, f"only {len(order)} were served: {instance.status()}"
        for number, one in enumerate(crowd):
            if number not in order and one.pump():
                order.append(number)
                one.replica.ack(0)
        status = instance.status()
        most = max(most, status["snapshot"]["sending"])
        queued = max(queued, status["snapshot"]["queued"])
    assert most == 3, "full-sync-max-concurrent is kept, and used"
    assert queued >= 40
    assert all(abs(place - number) <= 6 for place, number in enumerate(order)), f"in the order of asking: {order}"
    assert primary.stat("total_forks") - forks == 1
    assert instance.counters()["full_syncs"] == 50
    assert len({one.complete() for one in crowd}) == 1


def test_a_full_sync_keeps_its_rate_and_shows_its_progress(lab):
    primary, instance = scene(lab, megabytes=4, full_sync_rate="1mb")
    one = lab.closing(Attaching(instance.port, 7000))
    began = time.monotonic()
    seen = {}

    def look():
        one.pump()
        replica, = instance.status()["replicas"]
        if replica["state"] == "send_bulk" and 0 < replica["percent"] < 100:
            seen.update(replica, info=instance("INFO", "sidestream").decode())
        return one.complete()
    wait_for(look, 60, "the payload")
    size = len(one.complete())
    assert time.monotonic() - began > (size - MEGABYTE) / MEGABYTE * 0.8, "no faster than the rate"
    assert 0 < seen["sent"] < seen["total"] == size
    assert 0 < seen["rate"] < 2 * MEGABYTE and seen["eta_ms"] > 0
    assert "sync0:replica=127.0.0.1:7000,state=send_bulk,bytes=" in seen["info"]


def test_partial_resyncs_do_not_wait_for_full_ones(lab):
    primary, instance = scene(lab, full_sync_max_concurrent=1, full_sync_rate="100kb")
    for port in (7000, 7001):
        lab.closing(Attaching(instance.port, port))
    wait_for(lambda: "send_bulk" in states(instance), 20, "the first to be served")
    known = lab.closing(FakeReplica(instance.port, 7002))
    assert known.psync(instance.replid(), instance.offset() + 1).startswith(b"+CONTINUE")
    waiting = [replica["waits_for"] for replica in instance.status()["replicas"] if replica["state"] == "wait_bgsave"]
    assert len(waiting) == 1 and "waits for its turn" in waiting[0]


def test_a_replica_whose_syncs_fail_is_put_off_and_named(lab):
    primary, instance = scene(lab)
    for attempt in range(3):
        one = Attaching(instance.port, 7000)
        wait_for(one.pump, 60, "the payload")
        one.close()
        wait_for(lambda: instance.status()["sync_failures"]["left"] == attempt + 1, 20, "the failure to be counted")
    assert "3 times in a row" in instance.log_text()
    again = lab.closing(Attaching(instance.port, 7000))
    replica = wait_for(lambda: instance.status()["replicas"], 10, "it to ask again")[0]
    assert replica["failures"] == 3 and "while it loaded" in replica["trouble"]
    assert "failed full syncs" in replica["waits_for"]
    assert "failures=3" in instance("INFO", "sidestream").decode()
    assert 'sync_failures_total{reason="left"} 3' in metrics(instance)
    wait_for(again.pump, 30, "it to be served in the end")
    again.replica.ack(0)
    wait_for(lambda: instance.status()["replicas"][0]["failures"] == 0, 20, "its failures to be forgotten")


def metrics(instance):
    with urllib.request.urlopen(f"http://127.0.0.1:{instance.admin_port}/metrics", timeout=10) as reply:
        return reply.read().decode()


def test_a_replica_that_cannot_load_the_snapshot_keeps_its_data(lab):
    """It is told nothing at all: a diskless loader would empty itself before it looks at the format."""
    upstream = lab.closing(FakePrimary())
    upstream.rdb = lambda connection: make_rdb(upstream.replid, upstream.offset, {}, version=9999)
    instance = lab.instance(replicaof=upstream, ready=False)
    replica = lab.server(name="replica", repl_diskless_load="swapdb")
    replica("SET", "mine", "still here")
    replica.replicaof(instance)
    wait_for(lambda: instance.status()["sync_failures"]["version"] >= 1, 20, "the refusal")
    assert "its RDB version 10 is too old" in instance.status()["replicas"][0]["trouble"]
    assert replica("GET", "mine") == b"still here"


def test_full_syncs_are_gathered(lab):
    primary, instance = scene(lab, repl_diskless_sync_delay="2s")
    forks = primary.stat("total_forks")
    replicas = lab.servers(3)
    for replica in replicas:
        replica.replicaof(instance)
        time.sleep(0.4)
    assert primary.stat("total_forks") == forks, "it waits for others"
    for replica in replicas:
        replica.wait_link(30)
    assert primary.stat("total_forks") == forks + 1


def test_the_replica_with_the_least_to_do_gives_the_snapshot(lab):
    """A backup wants a fresh one: not the primary forks for it, nor the replica that is being read."""
    primary, instance = scene(lab)
    busy, idle = attach(lab, instance, 2)
    wait_converged(primary, [busy, idle])
    servers = (primary, busy, idle)
    forks = [server.stat("total_forks") for server in servers]
    with busy.client() as reader:
        def busy_enough():
            reader.pipeline([("GET", "some-key")] * 200)
            return busy.stat("instantaneous_ops_per_sec") > 500
        wait_for(busy_enough, 20, "the load to be seen")
        backup = lab.closing(FakeReplica(instance.port, capa=("eof",), timeout=30))
        assert backup.raw("REPLCONF", "rdb-only", 1) == b"+OK\r\n"
        backup.send("PSYNC", "?", -1)
        wait_for(lambda: busy_enough() and instance.counters()["snapshots_fetched"] == 2, 20, "a fresh snapshot")
    assert backup.read_psync_reply().startswith(b"+FULLRESYNC")
    backup.read_payload()
    assert [server.stat("total_forks") - before for server, before in zip(servers, forks)] == [0, 0, 1]


def memory(instance):
    for line in open(f"/proc/{instance.process.pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def timed_attach(lab, front, count):
    replicas = lab.servers(count)
    began = time.monotonic()
    for replica in replicas:
        replica.replicaof(front)
    for replica in replicas:
        replica.wait_link(120)
    return replicas, time.monotonic() - began


def test_four_at_once_and_one_later(lab):
    """One snapshot for all of them, in the memory of the backlog; the times beside those without an instance."""
    primary, instance = scene(lab, DATASET_MB, repl_backlog_size="8mb")
    times = {}
    for name, front in (("through", instance), ("direct", primary)):
        forks = primary.stat("total_forks")
        four, times[name, 4] = timed_attach(lab, front, 4)
        primary("SET", "between", name)
        one, times[name, 1] = timed_attach(lab, front, 1)
        times[name, "forks"] = primary.stat("total_forks") - forks
        wait_converged(primary, four + one, 60)
        for replica in four + one:
            replica.kill()
    print(f"{DATASET_MB} MB, four at once and one later, seconds and forks of the primary: {times}; "
          f"peak memory of the instance {memory(instance) / MEGABYTE:.1f} MB")
    assert times["through", "forks"] == 1 and times["direct", "forks"] >= 2
    assert instance.counters()["snapshots_shared"] == 4
    assert memory(instance) < 60 * MEGABYTE, "20 MB and the backlog, with room for the bursts of a busy machine"
