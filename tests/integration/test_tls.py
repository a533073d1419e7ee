"""TLS on every kind of connection: clients of several makes, nodes, replicas, other instances, the admin address."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness import HOST, free_port, wait_for
from resp_client import RespClient
from tls_files import Authority


@pytest.fixture
def authority(lab):
    return Authority(lab.dir / "tls")


def listening(authority, **more):
    cert, key = authority.issue("front")
    return {"listen-cert": str(cert), "listen-key": str(key), **more}


def tls_server(lab, authority, **options):
    """A stock server that speaks nothing but TLS and asks for certificates, on its usual port."""
    cert, key = authority.issue("node", "IP:127.0.0.1")
    server = lab.server(start=False, tls_cert_file=cert, tls_key_file=key, tls_ca_cert_file=authority.ca,
                        tls_replication="yes", **options)
    server.options["tls-port"], server.options["port"] = server.port, 0
    server.client_options = {"tls": authority.client_context((cert, key))}
    server.start()
    return server.wait_up()


def towards_nodes(authority):
    cert, key = authority.issue("towards")
    return {"nodes": True, "node-ca": str(authority.ca), "node-cert": str(cert), "node-key": str(key)}


def ask_with_cli(authority, port, *words):
    command = ["redis-cli", "-p", str(port), "--tls", "--cacert", str(authority.ca), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()


def test_plain_and_tls_side_by_side(lab, authority, binary):
    primary = lab.server()
    plain = free_port()
    instance = lab.instance([primary], start=False, tls=listening(authority))
    tls_port = instance.port
    instance.config["listen"] = [f"tls://{HOST}:{tls_port}", f"tcp://{HOST}:{plain}", f"unix:{lab.dir}/front.sock"]
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up()
    instance.wait_online()
    assert ask_with_cli(authority, tls_port, "SET", "k", "v") == "OK"
    with RespClient(plain) as client:
        assert client("GET", "k") == b"v"
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(f"{lab.dir}/front.sock")
        local.sendall(b"GET k\r\n")
        assert local.recv(100) == b"$1\r\nv\r\n"
    big = b"x" * 3_000_000
    with instance.client() as client:
        assert client("SET", "big", big) == "OK"
        assert client("GET", "big") == big
    facts = instance.status()["security"]
    assert facts["tls_handshakes"] >= 2 and facts["listen_cert_expires"] > time.time()


def test_a_bare_address_speaks_tls_when_there_is_a_certificate(lab, authority, binary):
    instance = lab.instance([lab.server()], start=False, tls=listening(authority))
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up()
    instance.wait_online()
    with instance.client() as client:
        assert client.socket.version() in ("TLSv1.3", "TLSv1.2")
        assert client("PING") == "PONG"
    with socket.create_connection((HOST, instance.port), timeout=10) as plain:
        plain.sendall(b"PING\r\n")
        assert plain.recv(200).startswith(b"-ERR this address speaks TLS")
    wait_for(lambda: instance.status()["security"]["tls_handshakes_failed"] >= 1, 5, "the count of failures")


def test_client_certificates(lab, authority, binary):
    tls = listening(authority, **{"client-ca": str(authority.ca), "require-client-cert": True})
    instance = lab.instance([lab.server()], start=False, tls=tls)
    instance.client_options = {"tls": authority.client_context(authority.issue("client"))}
    instance.start().wait_up()
    instance.wait_online()
    assert instance("PING") == "PONG"
    stranger = Authority(lab.dir / "others")
    for identity in (None, stranger.issue("client")):
        with pytest.raises((OSError, ssl.SSLError)):
            with RespClient(instance.port, tls=authority.client_context(identity)) as client:
                client("PING")
    assert instance("PING") == "PONG"


def test_a_legacy_client_reaches_nodes_that_demand_tls_and_a_password(lab, authority, binary):
    nodes = [tls_server(lab, authority, requirepass="deep", masterauth="deep") for _ in range(2)]
    nodes[1].replicaof(nodes[0])
    nodes[1].wait_link()
    instance = lab.instance(nodes, masterauth="deep", tls=towards_nodes(authority))
    with socket.create_connection((HOST, instance.port), timeout=10) as legacy:
        legacy.sendall(b"SET k old-fashioned\r\n")
        assert legacy.recv(100) == b"+OK\r\n"
        for _ in range(20):
            legacy.sendall(b"GET k\r\n")
            assert legacy.recv(100) == b"$13\r\nold-fashioned\r\n"
    wait_for(lambda: instance.counters()["reads_replica"] > 0 or instance("GET", "far"), 10, "reads on the replica")


def test_the_node_must_show_the_right_certificate(lab, authority, binary):
    node = tls_server(lab, authority)
    other = Authority(lab.dir / "others")
    tls = {"nodes": True, "node-ca": str(other.ca)}
    instance = lab.instance([node], ready=False, tls=tls)
    wait_for(lambda: "is not accepted" in instance.status()["nodes"][0]["trouble"], 10, "the reason in the status")


def test_replicas_and_instances_over_tls(lab, authority, binary):
    """Stock replica over TLS below an instance below another instance, TLS all the way."""
    primary = tls_server(lab, authority)
    both = {**listening(authority), **towards_nodes(authority)}
    upper = lab.instance([primary], start=False, tls=both)
    upper.client_options = {"tls": authority.client_context()}
    upper.start().wait_up()
    upper.wait_online()
    lower = lab.instance([], start=False, replicaof=upper, tls=both)
    lower.client_options = {"tls": authority.client_context()}
    lower.start().wait_up()
    replica = tls_server(lab, authority)
    replica.replicaof(lower)
    replica.wait_link()
    assert upper("SET", "k", "v") == "OK"
    wait_for(lambda: replica("GET", "k") == b"v", 10, "the write at the far end")


def test_rotation_under_load_without_a_failed_request(lab, authority, binary):
    cert, key = authority.issue("front")
    (lab.dir / "password").write_text("first\n")
    instance = lab.instance([lab.server()], start=False, requirepass_file=str(lab.dir / "password"),
                            tls={"listen-cert": str(cert), "listen-key": str(key)})
    instance.password = "first"
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up()
    instance.wait_online()
    expires = instance.status()["security"]["listen_cert_expires"]
    ended, failures, done = threading.Event(), [], [0]

    def load(reconnect):
        client = instance.client()
        while not ended.is_set():
            try:
                assert client("INCR", "n") > 0
                done[0] += 1
                if reconnect:
                    client.close()
                    client = instance.client()
            except Exception as error:
                failures.append(repr(error))
                return
        client.close()

    threads = [threading.Thread(target=load, args=(i % 2 == 1,)) for i in range(4)]
    for thread in threads:
        thread.start()
    authority.issue("front", days=90)  # the same files, another certificate
    wait_for(lambda: instance.status()["security"]["listen_cert_expires"] > expires, 15, "the new certificate")
    seen = done[0]
    wait_for(lambda: done[0] > seen + 100, 10, "load behind the rotation")
    ended.set()
    for thread in threads:
        thread.join()
    assert not failures
    (lab.dir / "password").write_text("second\n")
    wait_for(lambda: RespClient(instance.port, password="second", **instance.client_options), 15, "the new password")


def test_a_bad_reload_changes_nothing(lab, authority, binary):
    cert, key = authority.issue("front")
    instance = lab.instance([lab.server()], start=False, tls={"listen-cert": str(cert), "listen-key": str(key)})
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up()
    instance.wait_online()
    cert.write_text("no certificate at all\n")
    wait_for(lambda: "cannot be used" in instance.log_text(), 15, "the complaint")
    assert instance("PING") == "PONG"


def test_admin_over_tls(lab, authority, binary):
    instance = lab.instance([lab.server()], start=False, tls=listening(authority))
    instance.config["admin"] = f"tls://{HOST}:{instance.admin_port}"
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up()
    instance.wait_online()
    admin = http.client.HTTPSConnection(HOST, instance.admin_port, timeout=10, context=authority.client_context())
    admin.request("GET", "/api/v1/status")
    assert json.loads(admin.getresponse().read())["ready"]
    admin.request("GET", "/metrics")
    metrics = admin.getresponse().read().decode()
    assert 'sidestream_tls_certificate_expiry_timestamp_seconds{side="listen"}' in metrics


@pytest.mark.parametrize("bad", ["half", "renegotiate"])
def test_hostile_handshakes_disturb_nobody(lab, authority, binary, bad):
    instance = lab.instance([lab.server()], start=False, tls=listening(authority))
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up()
    instance.wait_online()
    if bad == "half":
        stalled = [socket.create_connection((HOST, instance.port), timeout=10) for _ in range(300)]
        for each in stalled[::2]:
            each.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert instance("PING") == "PONG"
        wait_for(lambda: instance.status()["security"]["tls_handshakes_failed"] >= 300, 30, "all of them given up")
        for each in stalled:
            each.close()
    else:
        words = ["openssl", "s_client", "-connect", f"{HOST}:{instance.port}", "-CAfile", str(authority.ca), "-tls1_2"]
        said = subprocess.run(words, input="R\n", capture_output=True, text=True, timeout=30)
        assert "no renegotiation" in said.stderr or "no_renegotiation" in said.stderr
    assert instance("PING") == "PONG"


def test_python_and_node_clients(lab, authority, binary):
    instance = lab.instance([lab.server()], start=False, requirepass="s3cret", tls=listening(authority))
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up()
    instance.wait_online()
    redis = pytest.importorskip("redis")
    client = redis.Redis(port=instance.port, ssl=True, ssl_ca_certs=str(authority.ca), password="s3cret")
    assert client.set("k", "v") and client.get("k") == b"v"
    client.close()
    if shutil.which("redis-cli"):
        assert ask_with_cli(authority, instance.port, "--no-auth-warning", "-a", "s3cret", "GET", "k") == "v"
