"""The tests' own test: client, fault proxy, scripted replica and scripted primary against stock servers only."""

import threading
import time

import pytest

from fake_primary import CLOSE, FakePrimary
from fake_replica import FakeReplica, sync_stream
from fault_proxy import FaultProxy
from harness import converged, wait_converged, wait_for
from load import Load, fill
from resp_client import RespClient, encode, parse, same_reply


def test_wait_for_says_what_it_waited_for():
    with pytest.raises(AssertionError, match="waited 4 x 0.05 s for the moon; last seen: 0"):
        wait_for(lambda: 0, 0.05, "the moon")


def test_the_client_parses_every_type():
    raw = b"*7\r\n+ok\r\n:-3\r\n$-1\r\n_\r\n%1\r\n$1\r\na\r\n,1.5\r\n~1\r\n#t\r\n=5\r\ntxt:x\r\n"
    assert parse(raw) == (["ok", -3, None, None, {b"a": 1.5}, [True], b"x"], len(raw))


def test_same_reply_sees_a_difference(lab):
    first, second = lab.servers(2)
    second("SET", "k", "v")
    with first.client() as a, second.client() as b:
        same_reply(a, b, "GET", "none")
        same_reply(a, b, "NOSUCH", "x")
        with pytest.raises(AssertionError, match="stock b'\\$-1"):
            same_reply(a, b, "GET", "k")


def test_a_lab_leaves_no_process(lab):
    server = lab.server()
    lab.close()
    assert server.process.poll() is not None and not server.dir.exists()


def test_fault_proxy_delays_and_stalls(lab):
    server = lab.server()
    proxy = lab.closing(FaultProxy(server.port))
    client = RespClient(proxy.port)
    proxy.delay = 0.1
    begin = time.monotonic()
    assert client("PING") == "PONG"
    assert time.monotonic() - begin >= 0.2, "both directions are delayed"
    proxy.delay = 0
    proxy.stall("down")
    client.send("PING")
    assert client.silent_for(0.3)
    proxy.resume()
    assert client.read() == "PONG"


def test_fault_proxy_cuts_at_an_exact_byte(lab):
    server = lab.server()
    server("SET", "k", "x" * 100)
    proxy = lab.closing(FaultProxy(server.port))
    for count in (1, 5, 50, 107):
        proxy.limits = {"down": count}
        client = RespClient(proxy.port)
        client.send("GET", "k")
        assert client.read_until_close() == (b"$100\r\n" + b"x" * 100 + b"\r\n")[:count]
    proxy.limits = {}
    client = RespClient(proxy.port)
    assert client("GET", "k") == b"x" * 100
    proxy.cut()
    assert client.read_until_close() == b""


def test_fault_proxy_records(lab):
    server = lab.server()
    proxy = lab.closing(FaultProxy(server.port))
    proxy.record()
    RespClient(proxy.port)("PING")
    assert (bytes(proxy.records["up"]), bytes(proxy.records["down"])) == (encode("PING"), b"+PONG\r\n")


@pytest.mark.parametrize("capa, kind", [(("eof", "psync2"), "eof"), (("psync2",), "len"), ((), "len")])
def test_fake_replica_syncs_from_stock(lab, server_binary, capa, kind):
    server = lab.server(binary=server_binary, repl_ping_replica_period=3600, repl_diskless_sync="yes")
    server("SET", "k", "v")
    replica = FakeReplica(server.port, 7777, capa)
    assert replica.full_sync().kind == kind
    server("SET", "k2", "v2")
    stream = replica.wait_offset(server.offset())
    assert stream.endswith(encode("SET", "k2", "v2"))
    assert server.info()["slave0"].startswith("ip=127.0.0.1,port=7777,state=online")


def test_fake_sync_client(lab):
    server = lab.server()
    client, payload = sync_stream(server.port, capa=())
    assert payload.kind == "len" and payload.data.startswith(b"REDIS0010")
    client.close()


@pytest.mark.parametrize("eof", [True, False])
def test_fake_primary_feeds_a_stock_replica(lab, server_binary, eof):
    fake = lab.closing(FakePrimary(databases={0: {"a": "1"}, 2: {"b": "x" * 20000}}))
    fake.eof_payload = eof
    replica = lab.server(binary=server_binary)
    replica.replicaof(fake)
    replica.wait_link()
    fake.write("SELECT", 0)
    fake.write("SET", "c", "3")
    wait_for(lambda: replica.offset() == fake.offset, 10, "the replica to apply the stream")
    assert (replica("GET", "a"), replica("GET", "c")) == (b"1", b"3")
    assert replica.replid() == fake.replid
    wait_for(lambda: fake.last_ack() == fake.offset, 5, "an exact ACK")
    fake.cut()
    wait_for(lambda: fake.syncs["partial"] == 1, 10, "a partial resync after the cut")
    fake.promote()
    wait_for(lambda: replica.replid() == fake.replid, 10, "the replica to take the new id")


def test_fake_primary_refuses_once(lab):
    fake = lab.closing(FakePrimary())
    fake.answers = [b"-NOMASTERLINK not now\r\n", CLOSE]
    replica = lab.server()
    replica.replicaof(fake)
    replica.wait_link()
    assert len(fake.received("PSYNC")) == 3


def test_load_and_digest_between_stock_servers(lab):
    primary, replica = lab.servers(2)
    fill(primary.client(), megabytes=1)
    with Load(primary.port, threads=2) as load:
        replica.replicaof(primary)
        replica.wait_link()
        wait_for(lambda: load.operations > 50, 20, "fifty batches of load")
    wait_converged(primary, [replica])
    primary("SET", "another", "key")
    replica.kill()
    with pytest.raises(AssertionError, match="equal digest"):
        wait_converged(primary, [replica], timeout=0.1)
    assert not threading.active_count() > 20


def test_converged_sees_a_different_replica(lab):
    primary, other = lab.servers(2)
    primary("SET", "k", "v")
    assert not converged(primary, [other])
