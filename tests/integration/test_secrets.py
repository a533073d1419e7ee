"""Planted secrets turn up nowhere that people or programs look: logs, INFO, status, metrics, command lines."""

import http.client
import os
import pwd
import signal
import subprocess
from pathlib import Path

import pytest

from harness import BINARY, HOST, wait_for
from resp_client import ReplyError
from tls_files import Authority

SECRETS = FRONT, BACK, TOKEN, SENTINEL, WRONG = (
    "pl4nted-front-5e1f", "pl4nted-back-5e1f", "pl4nted-token-5e1f", "pl4nted-sentinel-5e1f", "pl4nted-wrong-5e1f")


def secret_file(lab, name, text):
    path = lab.dir / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def instance(lab, binary):
    """Every secret there is, and a client that gave a wrong password."""
    authority = Authority(lab.dir / "tls")
    cert, key = authority.issue("front")
    node = lab.server(requirepass=BACK, masterauth=BACK)
    instance = lab.instance([node], start=False, requirepass_file=secret_file(lab, "front", FRONT),
                            masterauth_file=secret_file(lab, "back", BACK),
                            admin_token_file=secret_file(lab, "token", TOKEN),
                            tls={"listen-cert": str(cert), "listen-key": str(key)},
                            environment={"SIDESTREAM_SENTINEL_PASSWORD": SENTINEL})
    instance.config["listen"] = f"tcp://{instance.address}"
    instance.password = FRONT
    instance.start().wait_up().wait_online()
    with instance.client() as client:
        with pytest.raises(ReplyError):
            client("AUTH", WRONG)
        with pytest.raises(ReplyError):
            client("HELLO", 3, "AUTH", "somebody", WRONG)
        client("CONFIG", "SET", "requirepass", FRONT)
        client("EVAL", "return 1", 0)
    ask(instance, "POST", "/api/v1/reload", Authorization=f"Bearer {WRONG}")
    instance.key = key
    return instance


def ask(instance, method, path, **headers):
    connection = http.client.HTTPConnection(HOST, instance.admin_port, timeout=10)
    connection.request(method, path, headers=headers)
    return connection.getresponse().read().decode()


def clean(text, where):
    for secret in SECRETS:
        assert secret not in text, f"a secret is in {where}"
    return text


def test_what_people_look_at(lab, instance):
    instance.signal(signal.SIGHUP)
    wait_for(lambda: "reloaded: " in instance.log_text(), 10, "the reload")
    clean(instance.log_text(), "the log")
    for section in ("everything", "sidestream", "commandstats", "clients"):
        clean(instance("INFO", section).decode(), f"INFO {section}")
    for words in ("STATUS", "NODES", "SLOWLOG", "HELP"):
        clean(repr(instance("SIDESTREAM", words)), f"SIDESTREAM {words}")
    clean(repr(instance("CLIENT", "LIST")), "CLIENT LIST")
    for path in ("/", "/metrics", "/api/v1/status", "/api/v1/events", "/api/v1/config", "/api/v1/history",
                 "/readyz?verbose"):
        clean(ask(instance, "GET", path), path)
    assert '"requirepass": "(hidden)"' in ask(instance, "GET", "/api/v1/config")
    clean(Path(f"/proc/{instance.process.pid}/cmdline").read_text(), "the command line")
    private = "".join(Path(instance.key).read_text().split("\n")[1:3])
    assert private not in ask(instance, "GET", "/api/v1/config") + instance.log_text()


def test_who_may_ask_for_them_as_with_stock(lab, instance):
    """CONFIG GET shows passwords, as stock's does: to those who have logged in and may do everything."""
    assert instance("CONFIG", "GET", "requirepass") == [b"requirepass", FRONT.encode()]
    instance.password = None
    with pytest.raises(ReplyError, match="^NOAUTH"):
        instance("CONFIG", "GET", "requirepass")


def test_printed_and_refused(lab, binary):
    words = [str(BINARY), "--node", "h:1"]
    printed = subprocess.run([*words, "--print-config"], capture_output=True, text=True,
                             env={"SIDESTREAM_REQUIREPASS": FRONT, "SIDESTREAM_ADMIN_TOKEN": TOKEN})
    assert printed.returncode == 0 and 'requirepass: "********"' in printed.stdout
    clean(printed.stdout + printed.stderr, "--print-config")
    for option in ("requirepass", "masterauth", "admin-token", "sentinel.password"):
        refused = subprocess.run([*words, "--check-config", "--set", f"{option}={FRONT}"], capture_output=True,
                                 text=True)
        assert refused.returncode == 2
        assert f"{option} on a command line can be read by everybody" in refused.stderr
        clean(refused.stdout + refused.stderr, "the refusal")


def test_what_is_kept_is_for_the_owner_alone(lab, instance):
    instance("CONFIG", "REWRITE")
    files = [path for path in (instance.dir / "data").rglob("*") if path.is_file()]
    assert any(FRONT in path.read_text(errors="replace") for path in files), "CONFIG SET and REWRITE keep it"
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("allowed", [False, True])
def test_memory_is_hidden(lab, binary, allowed):
    """No core file, no debugger of the same user, unless wanted: the kernel gives its files in /proc to root then."""
    owner = os.geteuid() or pwd.getpwnam("nobody").pw_uid
    os.chmod(lab.dir, 0o755)
    instance = lab.instance([lab.server()], core_dumps=allowed, **({} if os.geteuid() else {"run_as": "nobody"}))
    assert (os.stat(f"/proc/{instance.process.pid}/maps").st_uid == owner) == allowed


@pytest.mark.parametrize("option", ["requirepass-file", "masterauth-file", "admin-token-file"])
def test_files_that_cannot_be_used(lab, binary, option):
    """A clear error at the start; at a reload the old password stays."""
    empty = secret_file(lab, "empty", "")
    for path, why in ((empty, "is empty"), (str(lab.dir), "Is a directory"), ("/does/not/exist", "No such file")):
        words = [str(BINARY), "--node", "h:1", "--set", f"{option}={path}", "--check-config"]
        refused = subprocess.run(words, capture_output=True, text=True)
        assert refused.returncode == 2 and why in refused.stderr and option in refused.stderr
    path = Path(secret_file(lab, "good", FRONT))
    node = lab.server(requirepass=FRONT, masterauth=FRONT)
    instance = lab.instance([node], start=False, masterauth_file=str(path), requirepass_file=str(path),
                            admin_token_file=str(path))
    instance.password = FRONT
    instance.start().wait_up().wait_online()
    path.write_text("\n")
    instance.signal(signal.SIGHUP)
    wait_for(lambda: "not reloaded: all stays as it was" in instance.log_text(), 10, "the refusal")
    assert f"{option}: '{path}' is empty" in instance.log_text()
    assert instance("PING") == "PONG" and instance("SET", "k", "v") == "OK"


def test_credentials_directory(lab, binary):
    """As systemd hands them out: LoadCredential= and ${CREDENTIALS_DIRECTORY} in the configuration."""
    secret_file(lab, "requirepass", FRONT)
    instance = lab.instance([lab.server()], start=False, requirepass_file="${CREDENTIALS_DIRECTORY}/requirepass",
                            environment={"CREDENTIALS_DIRECTORY": str(lab.dir)})
    instance.password = FRONT
    instance.start().wait_up().wait_online()
    assert instance("PING") == "PONG"
