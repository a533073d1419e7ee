"""Who may change something over HTTP: this machine, and whoever shows the token; nobody's web page."""

import http.client
import subprocess

import pytest

from front_door import metric, outside_address
from harness import BINARY, HOST, wait_for

TOKEN = "plan-B-token-7c1f"


def ask(instance, method, path, host=HOST, **headers):
    """(status, headers, body)"""
    connection = http.client.HTTPConnection(host, instance.admin_port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read().decode()


def open_to_all(lab, **config):
    instance = lab.instance([lab.server()], start=False, **config)
    instance.config["admin"] = f"0.0.0.0:{instance.admin_port}"
    return instance.start().wait_up().wait_online()


def with_token(lab):
    path = lab.dir / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return open_to_all(lab, admin_token_file=str(path))


@pytest.mark.parametrize("path", ["/api/v1/reload", "/api/v1/drain", "/api/v1/upgrade"])
def test_without_a_token_only_this_machine_may(lab, binary, path):
    outside = outside_address()
    instance = open_to_all(lab)
    status, _, body = ask(instance, "POST", path, outside)
    assert status == 403 and "admin-token" in body
    assert ask(instance, "POST", path, outside, Authorization="Bearer ")[0] == 403
    assert ask(instance, "GET", path)[0] == 405
    assert ask(instance, "GET", "/readyz", outside)[0] == 200, "looking is allowed"
    assert ask(instance, "POST", path)[0] in (200, 202)


@pytest.mark.parametrize("path", ["/api/v1/reload", "/api/v1/drain"])
def test_with_the_token_others_may_too(lab, binary, path):
    outside = outside_address()
    instance = with_token(lab)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"},
                    {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Bearer {TOKEN[:-1]}"}):
        status, reply, body = ask(instance, "POST", path, outside, **headers)
        assert status == 401 and reply["WWW-Authenticate"] == "Bearer" and "Authorization: Bearer" in body
    assert ask(instance, "POST", path, Authorization="Bearer wrong")[0] == 401, "a wrong token is wrong everywhere"
    assert instance("PING") == "PONG" and not instance.status()["state"].startswith("drain")
    assert ask(instance, "POST", path, outside, Authorization=f"Bearer {TOKEN}")[0] in (200, 202)
    assert TOKEN not in instance.log_text()


def test_a_web_page_may_not(lab, binary):
    instance = open_to_all(lab)
    status, _, body = ask(instance, "POST", "/api/v1/drain", Origin="https://evil.example")
    assert (status, body) == (403, "not from a web page\n")
    assert instance("PING") == "PONG"


def test_the_command_line_shows_the_token(lab, binary):
    outside = outside_address()
    instance = with_token(lab)

    def drain(**environment):
        return subprocess.run([BINARY, "drain", "--admin", f"{outside}:{instance.admin_port}", "--wait", "20s"],
                              env=environment, capture_output=True, text=True, timeout=60)
    refused = drain()
    assert refused.returncode == 1 and "show the admin token" in refused.stderr
    assert "cannot be read" in drain(SIDESTREAM_ADMIN_TOKEN_FILE="/does/not/exist").stderr
    assert metric(instance, "sidestream_draining") == 0
    done = drain(SIDESTREAM_ADMIN_TOKEN_FILE=str(lab.dir / "token"))
    assert done.returncode == 0, done.stderr
    assert instance.process.wait(20) == 0 or wait_for(lambda: not instance.alive(), 20, "the end")


def test_the_token_is_rotated_by_its_file(lab, binary):
    outside = outside_address()
    instance = with_token(lab)
    (lab.dir / "token").write_text("another\n")
    wait_for(lambda: ask(instance, "POST", "/api/v1/reload", outside, Authorization="Bearer another")[0] == 200, 15,
             "the new token")
    assert ask(instance, "POST", "/api/v1/reload", outside, Authorization=f"Bearer {TOKEN}")[0] == 401


def test_loopback_is_the_default(lab, binary):
    printed = subprocess.run([BINARY, "--node", "h:1", "--print-config"], capture_output=True, text=True, env={})
    assert "admin: 127.0.0.1:9180" in printed.stdout
