"""TLS that goes wrong, on purpose and otherwise: each costs its own connection only, says why, and is counted."""

import shutil
import socket
import ssl
import subprocess

import pytest

from front_door import exchange, metric
from harness import HOST, free_port, wait_for
from resp_client import RespClient
from test_tls import listening, tls_server
from tls_files import Authority, openssl


@pytest.fixture
def authority(lab):
    return Authority(lab.dir / "tls")


@pytest.fixture
def front(lab, authority, binary):
    """TLS on the port, and a plain one beside it."""
    instance = lab.instance([lab.server()], start=False, tls=listening(authority), limits={"handshake-timeout": "4s"})
    instance.plain = free_port()
    instance.config["listen"] = [f"tls://{instance.address}", f"tcp://{HOST}:{instance.plain}"]
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up()
    return instance.wait_online()


def failed(instance):
    return metric(instance, "sidestream_tls_handshakes_total", result="failed")


def test_the_wrong_protocol_on_either_port(front, authority):
    before = failed(front)
    assert exchange(front.port, b"SET k v\r\n").startswith(b"-ERR this address speaks TLS; connect with TLS")
    assert exchange(front.port, b"\0" * 1000).startswith(b"-ERR this address speaks TLS")
    wait_for(lambda: failed(front) == before + 2, 10, "both counted")
    with RespClient(front.plain) as other:
        with pytest.raises((ssl.SSLError, OSError)):
            RespClient(front.plain, tls=authority.client_context())
        assert other("GET", "k") is None
    assert front("PING") == "PONG"


def test_old_versions_and_renegotiation(front, authority):
    def shake(*words, text=""):
        command = ["openssl", "s_client", "-connect", f"{HOST}:{front.port}", "-CAfile", str(authority.ca), *words]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=30)
    for version in ("-tls1", "-tls1_1"):
        done = shake(version, "-cipher", "DEFAULT@SECLEVEL=0")
        assert done.returncode != 0
    said = shake("-tls1_2", text="R\n")
    assert "no renegotiation" in said.stderr or "no_renegotiation" in said.stderr
    assert "Verify return code: 0" in shake("-tls1_3").stdout
    assert front("PING") == "PONG"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_thousand_half_handshakes(lab, authority, binary, threads):
    instance = lab.instance([lab.server()], start=False, threads=threads, tls=listening(authority),
                            limits={"handshake-timeout": "5s"})
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up().wait_online()
    before = failed(instance)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    stalled = []
    for number in range(1000):
        stalled.append(socket.create_connection((HOST, instance.port), timeout=20))
        stalled[-1].sendall(hello[:number % (len(hello) + 1)])
    for n in range(20):  # old ones and new ones go on
        with instance.client() as client:
            assert client("SET", "k", n) == "OK" and client("GET", "k") == str(n).encode()
    wait_for(lambda: failed(instance) >= before + 1000, 15, "all of them given up")
    for each in stalled:
        each.close()
    wait_for(lambda: instance.status()["clients"]["connected"] <= 2, 10, "their places to be free")


def test_clients_that_are_turned_away_are_told_through_tls(lab, authority, binary):
    instance = lab.instance([lab.server()], start=False, tls=listening(authority), limits={"clients-per-address": 1})
    instance.client_options = {"tls": authority.client_context()}
    instance.start().wait_up()
    told = wait_for(lambda: told_at_second(instance), 10, "one client to be in")
    assert told.startswith(b"-ERR max number of clients reached for your address")


def told_at_second(instance):
    """What the second client is told, once there is room for the first."""
    with instance.client() as first:
        assert first("PING") == "PONG"
        with instance.client() as second:
            return second.read_until_close()


def issue_expired(authority, name):
    cert, key = authority.issue(name, "IP:127.0.0.1")
    request, names = authority.directory / f"{name}.csr", authority.directory / f"{name}.ext"
    tool = shutil.which("faketime")
    if tool:
        subprocess.run([tool, "-f", "-90d", "openssl", "x509", "-req", "-in", request, "-CA", authority.ca, "-CAkey",
                        authority.key, "-days", "30", "-extfile", names, "-set_serial", "99", "-out", cert], check=True,
                       capture_output=True)
    else:  # the ca command takes dates
        (authority.directory / "index").write_text("")
        (authority.directory / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={authority.directory}/index\nnew_certs_dir={authority.directory}\n"
            "default_md=sha256\npolicy=p\nrand_serial=yes\nunique_subject=no\n[p]\ncommonName=supplied\n")
        openssl("ca", "-batch", "-config", authority.directory / "ca.cnf", "-in", request, "-cert", authority.ca,
                "-keyfile", authority.key, "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-extfile",
                names, "-notext", "-out", cert)
    return cert, key


@pytest.mark.parametrize("bad, why", [("authority", "self-signed certificate in certificate chain"),
                                      ("name", "IP address mismatch"), ("expired", "certificate has expired")])
def test_a_node_with_a_certificate_that_does_not_do(lab, authority, binary, bad, why):
    node = tls_server(lab, authority)
    tls = {"nodes": True, "node-ca": str(authority.ca), "node-cert": str(authority.issue("us")[0]),
           "node-key": str(authority.directory / "us.key")}
    good = lab.instance([tls_server(lab, authority)], tls=tls)
    if bad == "authority":
        tls["node-ca"] = str(Authority(lab.dir / "others").ca)
    elif bad == "name":
        cert, key = authority.issue("elsewhere", "IP:10.9.9.9")
        node("CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key)
    else:
        cert, key = issue_expired(authority, "late")
        node("CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key)
    instance = lab.instance([node], ready=False, tls=tls)
    wait_for(lambda: why in instance.status()["nodes"][0]["trouble"], 15, "the reason in the status")
    wait_for(lambda: failed(instance) > 0, 10, "the count")
    assert good("SET", "k", "v") == "OK"


def test_a_server_certificate_that_has_expired_is_said(lab, authority, binary):
    """It is served: clients decide. Everybody can see when it ended."""
    cert, key = issue_expired(authority, "late")
    instance = lab.instance([lab.server()], start=False, tls={"listen-cert": str(cert), "listen-key": str(key)})
    lax = ssl.create_default_context()
    lax.check_hostname, lax.verify_mode = False, ssl.CERT_NONE
    instance.client_options = {"tls": lax}
    instance.start().wait_up().wait_online()
    assert metric(instance, "sidestream_tls_certificate_expiry_timestamp_seconds", side="listen") == 1580515200
    assert "has expired" in instance.log_text()
    with pytest.raises(ssl.SSLCertVerificationError):
        RespClient(instance.port, tls=authority.client_context())
    assert instance("PING") == "PONG"
