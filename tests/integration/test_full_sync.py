"""Full syncs under a mixed load: every kind of loader and client, one snapshot for all of them.

Each test but the marked ones runs against a stock primary first, then against an instance in front of it.
"""

import os
import subprocess
import time

import pytest

from fake_primary import FakePrimary
from fake_replica import FakeReplica, sync_stream
from fault_proxy import FaultProxy
from harness import HOST, Server, wait_converged, wait_for
from load import Load, fill
from resp_client import encode

LOADERS = ("disabled", "swapdb", "on-empty-db")


@pytest.fixture
def loaded(lab, subject):
    """(front, primary) with data; no PINGs, so that offsets stand still when the load does."""
    primary = lab.server(name="primary", repl_ping_replica_period=3600, repl_backlog_size="64mb",
                         client_output_buffer_limit="replica 0 0 0".split())
    fill(primary.client(), megabytes=3)
    return (primary if subject == "stock" else lab.instance([primary])), primary


def stock_replicas(lab):
    """Four stock replicas with the three loaders, not attached yet."""
    return [lab.server(name=f"replica-{n}-{loader}", repl_diskless_load=loader)
            for n, loader in enumerate(LOADERS + ("disabled",))]


def attach(replica, front):
    replica.replicaof(front)
    return replica.wait_link(30)


def rebuilt(lab, replica, payload, offset):
    """A stock server that has loaded what a scripted replica received: payload, then stream up to `offset`."""
    fake = lab.closing(FakePrimary(replid=replica.replid or "a" * 40, offset=replica.start or 0))
    fake.make_payload = lambda _: b"$%d\r\n%s" % (len(payload.data), payload.data)
    fake.eof_payload = False
    server = lab.server()
    server.replicaof(fake)
    server.wait_link()
    fake.feed(bytes(replica.stream[:offset - replica.start]))
    wait_for(lambda: server.offset() == fake.offset, 20, "the recorded stream to be applied")
    return server


def same_data(lab, primary, scripted):
    with primary.client() as client:         # at one moment: keys go on expiring
        digest, role = client.pipeline([("MULTI",), ("DEBUG", "DIGEST"), ("ROLE",), ("EXEC",)])[-1]
    for replica, payload in scripted:
        replica.wait_offset(role[1])
        assert rebuilt(lab, replica, payload, role[1]).digest() == digest


def test_replicas_attach_one_after_another_under_load(lab, loaded, subject):
    front, primary = loaded
    forks = primary.stat("total_forks")
    replicas, scripted = stock_replicas(lab), []
    with Load(front.port) as load:
        for replica in replicas:
            attach(replica, front)
        for port, capa, kind in ((7777, ("eof", "psync2"), "eof"), (7778, ("psync2",), "len")):
            client = FakeReplica(front.port, port, capa, timeout=30)
            scripted.append((client, client.full_sync()))
            assert scripted[-1][1].kind == kind or (subject == "instance" and kind == "eof")
        begin = load.operations
        wait_for(lambda: load.operations > begin + 20, 30, "more load after the last attach")
    wait_converged(primary, replicas)
    same_data(lab, primary, scripted)
    if subject == "instance":
        assert primary.stat("total_forks") - forks <= 1, "one snapshot has to do for all"
        assert front.status()["counters"]["full_syncs"] == 6
    else:
        assert primary.stat("total_forks") - forks >= 2, "a stock primary forks again and again"


def test_replicas_attach_at_once_under_load(lab, loaded, subject):
    front, primary = loaded
    forks = primary.stat("total_forks")
    replicas = stock_replicas(lab)
    with Load(front.port) as load:
        for replica in replicas:
            replica.replicaof(front)
        clients = [FakeReplica(front.port, port, capa, timeout=30)
                   for port, capa in ((7777, ("eof", "psync2")), (7778, ("psync2",)))]
        scripted = [(client, client.full_sync()) for client in clients]
        for replica in replicas:
            replica.wait_link(30)
        begin = load.operations
        wait_for(lambda: load.operations > begin + 20, 30, "more load after the last attach")
    wait_converged(primary, replicas)
    same_data(lab, primary, scripted)
    if subject == "instance":
        assert primary.stat("total_forks") - forks <= 1, "one snapshot has to do for all"


def test_the_replicas_move_to_the_primary_by_partial_resync(lab, loaded):
    """What was synced through the front is the primary's own history."""
    front, primary = loaded
    replicas = [attach(replica, front) for replica in stock_replicas(lab)[:2]]
    front("SET", "k", "v")
    wait_converged(primary, replicas)
    full = primary.stat("sync_full")
    for replica in replicas:
        attach(replica, primary)
    assert primary.stat("sync_full") == full
    front("SET", "k", "v2")
    wait_converged(primary, replicas)


def test_rdb_backup_is_taken_after_it_was_asked_for(lab, loaded):
    """Neither an older snapshot will do nor one of a replica that lags."""
    front, primary = loaded
    way = lab.closing(FaultProxy(front.port))
    attach(lab.server(), way)                # the first snapshot is older than the key
    way.delays = {"down": 0.3}
    front("SET", "the-last-key", "x")
    target = lab.dir / "backup"
    target.mkdir()
    done = subprocess.run(["redis-cli", "-h", HOST, "-p", str(front.port), "--rdb", str(target / "dump.rdb")],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    restored = lab.server(dir=target)
    assert restored("GET", "the-last-key") == b"x"
    assert restored.digest() == primary.digest()
    way.cut()
    way.refusing = True
    wait_for(lambda: front.info()["connected_slaves"] == "0", 10, "the backup connection to be gone")


def test_redis_cli_replica_prints_the_stream(lab, loaded):
    front, _ = loaded
    process = subprocess.Popen(["redis-cli", "-h", HOST, "-p", str(front.port), "--replica"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    lab.closing(ProcessCloser(process))
    wait_for(lambda: int(front.info()["connected_slaves"]) == 1, 15, "redis-cli to be connected")
    output = bytearray()

    def seen():
        front("SET", "printed", "by redis-cli")
        time.sleep(0.1)
        output.extend(read_available(process.stdout))
        return b'"SET","printed","by redis-cli"' in output
    wait_for(seen, 15, "redis-cli to print the write")


class ProcessCloser:
    def __init__(self, process):
        self.process = process

    def close(self):
        self.process.kill()
        self.process.wait(5)
        self.process.stdout.close()
        self.process.stderr.close()


def read_available(pipe):
    os.set_blocking(pipe.fileno(), False)
    return pipe.read() or b""


@pytest.mark.parametrize("capa", [(), ("eof",)])
def test_old_clients_send_sync(lab, loaded, capa):
    front, primary = loaded
    client, payload = sync_stream(front.port, capa=capa, timeout=30)
    assert payload.data[:5] == b"REDIS"
    assert payload.kind == "len" or "eof" in capa

    def streamed():
        if payload.kind == "eof":
            client.ack(0)
        client.pump()
        return encode("SET", "after", "sync") in client.stream
    with front.client() as writer:
        writer("SELECT", 2)
        writer("SET", "after", "sync")
    wait_for(streamed, 10, "the write in the stream")
    data = bytes(client.stream)
    assert encode("SELECT", 2) in data, "the database is named before the first write"
    client.close()
    assert Server.alive(primary)


def test_a_snapshot_only_client_is_closed_after_the_payload(lab, loaded):
    front, _ = loaded
    client = FakeReplica(front.port, capa=("eof",), timeout=30)
    assert client.raw("REPLCONF", "rdb-only", 1) == b"+OK\r\n"
    assert client.psync("?", -1).startswith(b"+FULLRESYNC ")
    client.read_payload()
    client.ack()
    assert client.closed_within(10)
    assert client.stream == b""


def test_an_empty_dataset_without_keys(lab, loaded, subject):
    """A filtered request gets an almost empty file and then the stream, as other relays need it."""
    front, _ = loaded
    client = FakeReplica(front.port, capa=("eof", "psync2"), timeout=30)
    assert client.raw("REPLCONF", "rdb-filter-only", "") == b"+OK\r\n"
    assert client.psync("?", -1).startswith(b"+FULLRESYNC ")
    payload = client.read_payload()
    assert payload.kind == "eof" and len(payload.data) < 400
    client.ack()
    front("SET", "k", "v")
    wait_for(lambda: client.pump() or client.ack() or encode("SET", "k", "v") in client.stream, 10, "the stream")
