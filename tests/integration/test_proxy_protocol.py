"""PROXY headers: who a load balancer says that its client is, from whom it is believed, and what bad ones cost."""

import socket

import pytest

from front_door import exchange, metric, proxy_one, proxy_two
from harness import HOST, wait_for
from resp_client import RespClient
from tls_files import Authority

MB = 1 << 20


def behind_a_balancer(lab, mode="accept", trusted="127.0.0.1", **config):
    config.setdefault("protected_mode", False)
    instance = lab.instance([lab.server()], ready=False, proxy_protocol=mode, proxy_protocol_from=[trusted], **config)
    wait_for(lambda: metric(instance, "sidestream_ready") == 1, 20, "the instance to be ready")
    return instance


def failed(instance):
    return metric(instance, "sidestream_proxy_headers_total", result="failed")


@pytest.mark.parametrize("header", [proxy_one, proxy_two], ids=["v1", "v2"])
@pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::7"], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_real_client_is_seen(lab, binary, header, host, threads):
    instance = behind_a_balancer(lab, threads=threads)
    shown = f"[{host}]:4321" if ":" in host else f"{host}:4321"
    with instance.client(first=header(host)) as one, instance.client(first=header(host)) as two:
        for client in (one, two):  # one of them on the other thread
            assert f"addr={shown} " in client("CLIENT", "INFO").decode()
        assert f"addr={shown} " in one("CLIENT", "LIST").decode()
        assert one("CLIENT", "KILL", shown) == "OK"
    wait_for(lambda: metric(instance, "sidestream_proxy_headers_total", result="ok") == 2, 10, "the count")


def test_tlvs_local_and_pieces(lab, binary):
    instance = behind_a_balancer(lab, "require")
    tlvs = b"\x02\x00\x04name" + b"\x04\x00\x80" + bytes(128)
    with instance.client(first=proxy_two("203.0.113.7", more=tlvs)) as client:
        assert client("ECHO", "hello") == b"hello"
    for whole in (proxy_one("203.0.113.7"), proxy_two("203.0.113.7", more=tlvs)):
        with socket.create_connection((HOST, instance.port), timeout=10) as slow:
            slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in whole + b"PING\r\n":
                slow.sendall(bytes([byte]))
            assert slow.recv(100) == b"+PONG\r\n"
    local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"
    with instance.client(first=local) as check:
        assert "addr=127.0.0.1:" in check("CLIENT", "INFO").decode()


def test_tls_behind_the_header(lab, binary):
    authority = Authority(lab.dir / "tls")
    cert, key = authority.issue("front")
    instance = behind_a_balancer(lab, tls={"listen-cert": str(cert), "listen-key": str(key)})
    with instance.client(first=proxy_two("203.0.113.7"), tls=authority.client_context()) as client:
        assert "addr=203.0.113.7:4321 " in client("CLIENT", "INFO").decode()
        assert client("SET", "k", b"x" * MB) == "OK"
        assert client("GET", "k") == b"x" * MB
    with instance.client(tls=authority.client_context()) as client:
        assert client("PING") == "PONG"


def test_protected_mode_goes_by_the_real_client(lab, binary):
    instance = behind_a_balancer(lab, protected_mode=True)
    assert exchange(instance.port, proxy_one("203.0.113.7") + b"PING\r\n").startswith(b"-DENIED ")
    with instance.client(first=proxy_one("127.0.0.1")) as client:
        assert client("PING") == "PONG"


def test_it_is_believed_from_trusted_hosts_only(lab, binary):
    instance = behind_a_balancer(lab, "require", trusted="127.0.0.2")
    with instance.client() as direct:  # replicas, nodes and Sentinels come without
        assert "addr=127.0.0.1:" in direct("CLIENT", "INFO").decode()
    assert exchange(instance.port, proxy_one("203.0.113.7") + b"PING\r\n") == b""
    assert b"PONG" not in exchange(instance.port, proxy_two("203.0.113.7") + b"PING\r\n")
    assert "it sends a PROXY header" in instance.log_text()
    through = exchange(instance.port, proxy_one("203.0.113.7") + b"PING\r\nQUIT\r\n", source="127.0.0.2")
    assert through == b"+PONG\r\n+OK\r\n"
    without = exchange(instance.port, b"PING\r\n", source="127.0.0.2")
    assert without.startswith(b"-ERR this address expects a PROXY header")


@pytest.mark.parametrize("bad", [
    b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 999.2.3.4 1.2.3.4 1 2\r\n", b"PROXY UNKNOWN " + b"x" * 5000,
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c" + bytes(12),
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + b"x" * 65535, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02xx"],
    ids=["short", "address", "long", "port", "version", "huge", "no room"])
def test_malformed_and_oversized_headers(lab, binary, bad):
    instance = behind_a_balancer(lab)
    with instance.client() as other:
        assert other("SET", "k", "v") == "OK"
        answer = exchange(instance.port, bad + b"GET k\r\n")
        assert b"$1" not in answer and answer[:1] in (b"", b"-")
        wait_for(lambda: failed(instance) == 1, 10, "the count")
        assert other("GET", "k") == b"v"
    assert "closed for want of a good PROXY header" in instance.log_text()


def test_a_thousand_that_stall(lab, binary):
    instance = behind_a_balancer(lab, "require", trusted="127.0.0.2", limits={"handshake-timeout": "3s"})
    stalled = []
    for number in range(1000):
        one = socket.create_connection((HOST, instance.port), timeout=20, source_address=("127.0.0.2", 0))
        one.sendall(b"PROXY TCP4 203.0"[:number % 16])
        stalled.append(one)
    with instance.client() as direct, RespClient(instance.port) as other:
        for n in range(100):
            assert direct("SET", "k", n) == "OK" and other("GET", "k") == str(n).encode()
    wait_for(lambda: failed(instance) == 1000, 15, "all of them given up")
    for each in stalled:
        each.close()
    assert instance("PING") == "PONG"


def test_the_switch_is_live_after_a_reload(lab, binary):
    instance = lab.instance([lab.server()], protected_mode=False)
    assert exchange(instance.port, proxy_one("203.0.113.7") + b"PING\r\n") == b""
    instance.config.update({"proxy-protocol": "accept", "proxy-protocol-from": ["127.0.0.0/8"]})
    instance.command()  # writes the file
    instance.signal(1)
    wait_for(lambda: exchange(instance.port, proxy_one("203.0.113.7") + b"PING\r\nQUIT\r\n") == b"+PONG\r\n+OK\r\n",
             10, "the header to be believed")
