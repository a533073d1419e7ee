"""TLS as clients of several makes speak it: what they print is equal to what they print at a stock server without TLS.

The scripts of the client library tests, over TLS with a password, in each version of TLS; redis-cli with its flags.
"""

import itertools
import os
import subprocess

import pytest

from harness import HOST, free_port, wait_for
from test_client_libraries import LIBRARIES, run
from tls_files import Authority


@pytest.fixture
def authority(lab):
    return Authority(lab.dir / "tls")


def secure(lab, authority, password="s3cret", **tls):
    cert, key = authority.issue("front")
    instance = lab.instance(lab.servers(3), start=False, requirepass=password,
                            tls={"listen-cert": str(cert), "listen-key": str(key), **tls})
    instance.config["listen"] = [instance.address, f"tcp://{HOST}:{free_port()}"]  # the other one is for its nodes
    instance.client_options = {"tls": authority.client_context(authority.issue("us"))}
    return instance.start().wait_up().wait_online()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("library", ["ioredis", "python3-redis"])
def test_libraries_over_tls_with_a_password(lab, authority, binary, library, version, tmp_path):
    words, environment = LIBRARIES[library](tmp_path)
    stock = run([*words, HOST, lab.server().port], env={**os.environ, **environment}).stdout.splitlines()
    assert len(stock) > 15
    instance = secure(lab, authority, **{"min-version": version})
    secured = {**os.environ, **environment, "TLS_CA": str(authority.ca), "TLS_PASSWORD": "s3cret"}
    done = run([*words, HOST, instance.port], check=False, env=secured)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.splitlines() == stock


@pytest.mark.parametrize("version, certificate", itertools.product(["1.2", "1.3"], [False, True]))
def test_redis_cli(lab, authority, binary, version, certificate):
    extra = {"client-ca": str(authority.ca), "require-client-cert": True} if certificate else {}
    instance = secure(lab, authority, **{"min-version": version}, **extra)
    cert, key = authority.issue("client")
    shows = ["--cert", cert, "--key", key] if certificate else []

    def cli(*words, shows=shows):
        command = ["redis-cli", "-p", instance.port, "--tls", "--cacert", authority.ca, *shows, *words]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=30,
                              env={**os.environ, "REDISCLI_AUTH": "s3cret"})
        return (done.stdout + done.stderr).strip()
    assert cli("SET", "k", "v") == "OK"
    assert cli("GET", "k") == "v"
    assert "redis" in cli("-3", "HELLO")
    assert cli("--sni", "localhost", "PING") == "PONG"
    rdb = lab.dir / "copy.rdb"
    assert "success" in cli("--rdb", rdb).lower() and rdb.stat().st_size > 80
    if certificate:
        assert "PONG" not in cli("PING", shows=[])
    wait_for(lambda: instance("GET", "k") == b"v", 5, "the key")
