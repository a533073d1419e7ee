"""The stream itself: the primary's bytes and nothing else, whatever single replicas do; and a full disk.

Recorded side by side: a scripted replica at the primary and one at the instance, byte for byte.
"""

import os
import shutil
import subprocess
import threading
import time

import pytest

from fake_replica import FakeReplica
from fault_proxy import FaultProxy
from harness import stays, wait_converged, wait_for
from load import Load, fill
from resp_client import encode


@pytest.fixture
def primary(lab, binary):
    return lab.server(name="primary", repl_backlog_size="64mb", repl_ping_replica_period=1,
                      client_output_buffer_limit="replica 0 0 0".split())


def recorder(port, replid, offset):
    replica = FakeReplica(port, 7777, timeout=30)
    assert replica.psync(replid, offset + 1) == b"+CONTINUE " + replid.encode()
    return replica


def test_every_byte_of_the_stream_is_the_primarys(lab, primary):
    """Under load, with PINGs, WAIT's GETACKs, transactions and 1 MB values."""
    instance = lab.instance([primary])
    base = FakeReplica(primary.port, 7776)
    base.full_sync()
    replid, offset = base.replid, base.offset
    wait_for(lambda: instance.offset() >= offset, 10, "the instance to be level")
    direct, relayed = recorder(primary.port, replid, offset), recorder(instance.port, replid, offset)
    with Load(instance.port) as load:
        seen = (b"GETACK", encode("ping"))
        while load.operations < 100 or not all(word in direct.stream for word in seen):
            for replica in (direct, relayed):
                replica.pump(0.01)
                replica.ack()
            with primary.client() as client:
                client.pipeline([("SET", "w", "x"), ("WAIT", 1, 1)])
    end = primary.offset()
    for replica in (direct, relayed):
        replica.wait_offset(end)
    length = end - offset
    assert bytes(relayed.stream[:length]) == bytes(direct.stream[:length])
    assert length > 100000


def test_any_byte_of_the_backlog_can_be_asked_for(lab, primary):
    """Also the middle of a command; each answer continues at exactly that byte."""
    instance = lab.instance([primary])
    first = FakeReplica(instance.port, 7777)
    first.full_sync()
    instance("SET", "key", "value" * 10)
    whole = first.wait_offset(primary.offset())
    for skip in range(0, len(whole), 5):
        replica = FakeReplica(instance.port, 7778)
        assert replica.psync(first.replid, first.start + skip + 1).startswith(b"+CONTINUE")
        assert replica.wait_offset(first.offset, acking=False)[:len(whole) - skip] == whole[skip:]
        replica.close()


def test_a_write_larger_than_the_backlog(lab, primary):
    """Everybody ends with it, by a new full sync if need be; what came before it cannot be continued any more."""
    instance = lab.instance([primary], repl_backlog_size="1mb")
    stock = lab.server()
    stock.replicaof(instance)
    stock.wait_link()
    old = FakeReplica(instance.port, 7777, timeout=30)
    old.full_sync()
    old.close()
    value = os.urandom(6 << 20)
    instance("SET", "huge", value)
    wait_for(lambda: stock("STRLEN", "huge") == len(value) and stock.link_up(), 20, "the stock replica to have it")
    again = FakeReplica(instance.port, 7778, timeout=30)
    assert again.psync(old.replid, old.start + 1).startswith(b"+FULLRESYNC"), "these bytes are gone"
    instance("SET", "small", "x")
    wait_converged_data(primary, stock)


def test_a_write_within_the_backlog_costs_no_full_sync(lab, primary):
    instance = lab.instance([primary], repl_backlog_size="32mb")
    replica = FakeReplica(instance.port, 7777, timeout=30)
    replica.full_sync()
    values = [os.urandom(6 << 20) for _ in range(3)]
    for value in values:
        instance("SET", "huge", value)
    replica.wait_offset(primary.offset(), timeout=30)
    assert all(value in bytes(replica.stream) for value in values)
    assert instance.counters()["full_syncs"] == 1


def resident_bytes(process):
    with open(f"/proc/{process.process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_stalled_replica_costs_the_others_nothing(lab, primary):
    """It stops reading while 40 MB flow: the others get everything, memory stays bounded, it can come back."""
    instance = lab.instance([primary], repl_backlog_size="8mb")
    stalled, lively = FakeReplica(instance.port, 7777, timeout=30), FakeReplica(instance.port, 7778, timeout=30)
    for replica in (stalled, lively):
        replica.full_sync()
    instance("SET", "k", "v")
    lively.wait_offset(primary.offset())
    before = resident_bytes(instance)
    with instance.client(timeout=30) as client:
        for number in range(40):
            client("SET", f"big:{number % 4}", os.urandom(1 << 20))
            lively.pump()
            lively.ack()
    lively.wait_offset(primary.offset(), timeout=30)
    assert resident_bytes(instance) - before < 64 << 20
    stalled.close()
    instance("SET", "k", "after")
    lively.wait_offset(primary.offset())


def test_replicas_that_disappear_in_the_middle_of_a_snapshot(lab, primary):
    fill(primary.client(), megabytes=8)
    instance = lab.instance([primary])
    patient = FakeReplica(instance.port, 7777, timeout=30)
    assert patient.psync("?", -1).startswith(b"+FULLRESYNC")
    for number in range(6):
        fickle = FakeReplica(instance.port, 7100 + number, timeout=30)
        assert fickle.psync("?", -1).startswith(b"+FULLRESYNC")
        fickle.read_header()
        fickle.read_bytes(1000 * 4 ** number)
        fickle.close()
    payload = patient.read_payload()
    patient.ack()
    assert len(payload.data) > 8 << 20
    instance("SET", "k", "v")
    patient.wait_offset(primary.offset())
    stock = lab.server()
    stock.replicaof(instance)
    stock.wait_link()
    instance("SET", "k", "w")
    wait_for(lambda: stock.digest() == primary.digest(), 20, "equal data")


def test_a_slow_loader_does_not_slow_the_others(lab, primary):
    fill(primary.client(), megabytes=8)
    instance = lab.instance([primary])
    slow = FakeReplica(instance.port, 7777, timeout=30)
    assert slow.psync("?", -1).startswith(b"+FULLRESYNC")
    slow.read_header()                       # and reads no further
    stock = lab.server()
    stock.replicaof(instance)
    stock.wait_link(30)
    instance("SET", "k", "v")
    wait_for(lambda: stock("GET", "k") == b"v", 10, "the stream at the quick one")
    assert instance.counters()["full_syncs"] >= 1


@pytest.fixture
def small_disk(lab):
    path = lab.dir / "small"
    path.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("a small tmpfs needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield path
    for process in lab.processes:
        process.kill()
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_harms_only_the_full_sync(lab, primary, small_disk):
    """The dataset does not fit under `dir`: clients and attached replicas go on; with room again it works."""
    instance = lab.instance([primary], dir=str(small_disk / "data"))
    attached = lab.server(name="attached")
    attached.replicaof(instance)
    attached.wait_link()
    fill(primary.client(), megabytes=6)
    wait_converged_data(primary, attached)
    # Old snapshots would reach back far enough to be used again: make them useless.
    instance("CONFIG", "SET", "repl-backlog-size", "1mb")
    with primary.client() as client:
        for _ in range(3):
            client("SET", "trim", os.urandom(1 << 20))
    newcomer = lab.server(name="newcomer")
    newcomer.replicaof(instance)
    wait_for(lambda: "No space left" in instance.log_text(), 20, "a log line that names the full disk")
    assert attached.link_up()
    for number in range(50):
        instance("SET", f"during:{number}", number)
        assert instance("GET", f"during:{number}") == b"%d" % number
    wait_converged_data(primary, attached)
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    newcomer.wait_link(40)
    wait_converged_data(primary, newcomer)


def wait_converged_data(primary, replica):
    wait_for(lambda: primary.digest() == replica.digest(), 20, f"equal data of {primary.name} and {replica.name}")


def test_many_replicas_at_once(lab, primary):
    fill(primary.client(), megabytes=1)
    instance = lab.instance([primary])
    replicas = [FakeReplica(instance.port, 7000 + n, timeout=40) for n in range(30)]
    failures = []

    def run(replica):
        try:
            replica.full_sync()
        except (OSError, AssertionError) as error:
            failures.append(error)
    threads = [threading.Thread(target=run, args=(replica,), daemon=True) for replica in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    instance("SET", "k", "v")
    for replica in replicas:
        replica.wait_offset(primary.offset())
    assert len({bytes(r.stream)[-len(encode("SET", "k", "v")):] for r in replicas}) == 1


def test_a_frozen_primary_disturbs_no_attached_replica(lab, primary):
    """No byte comes: the downstream link stays as it is, nothing is made up to keep it busy."""
    instance = lab.instance([primary])
    replica = FakeReplica(instance.port, 7777)
    replica.full_sync()
    instance("SET", "k", "v")
    replica.wait_offset(primary.offset())
    primary.pause()
    length, begin = len(replica.stream), time.monotonic()

    def unchanged():
        replica.pump()
        replica.ack()
        return len(replica.stream) == length
    stays(unchanged, 2.5, "silence")
    primary.resume()
    replica.wait_offset(primary.offset())
    assert time.monotonic() - begin > 2
    wait_converged_offsets(primary, instance)


def wait_converged_offsets(primary, instance):
    wait_for(lambda: primary.offset() == instance.offset(), 10, "the instance to be level")


def test_converges_with_stock_replicas_after_chaos(lab, primary):
    """Replicas are killed and restarted, links are killed, under load: everybody ends equal."""
    instance = lab.instance([primary])
    primary("CONFIG", "SET", "repl-ping-replica-period", 3600)
    replicas = lab.servers(2)
    for replica in replicas:
        replica.replicaof(instance)
        replica.wait_link()
    with Load(instance.port) as load:
        for number in range(4):
            before = load.operations
            replicas[0]("CLIENT", "KILL", "TYPE", "master")
            primary("CLIENT", "KILL", "TYPE", "replica")
            if number == 2:
                replicas[1].kill()
            wait_for(lambda b=before: load.operations > b + 10, 20, "load to go on")
    replicas[1].start().wait_up()
    replicas[1].replicaof(instance)
    wait_converged(primary, replicas)


@pytest.mark.parametrize("loader", ["disabled", "swapdb", "on-empty-db"])
def test_a_transfer_to_a_stock_replica_breaks_again_and_again(lab, primary, loader):
    fill(primary.client(), megabytes=2)
    instance = lab.instance([primary])
    bystander = FakeReplica(instance.port, 7777, timeout=30)
    bystander.full_sync()
    way = lab.closing(FaultProxy(instance.port))
    replica = lab.server(repl_diskless_load=loader)
    cuts = [50, 200, 1000, 100000, 1000000, 2000000]
    way.limits = {"down": cuts[0]}
    replica.replicaof(way)
    for number, cut in enumerate(cuts):
        way.limits = {"down": cut}
        wait_for(lambda n=number: way.accepted > n + 1, 20, "another attempt")
    way.limits = {}
    way.cut()
    replica.wait_link(30)
    instance("SET", "k", "v")
    wait_converged_data(primary, replica)
    bystander.wait_offset(primary.offset())
    assert instance.counters()["snapshots_fetched"] <= 2, "the broken attempts used one snapshot"
