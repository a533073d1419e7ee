"""Upgrade in place: another process of the program takes over listeners, history and clients under load."""

import json
import os
import signal
import subprocess
import threading

import pytest

import harness
from harness import HOST, wait_for
from resp_client import ReplyError, RespClient
from test_admin import ask
from writers import Writers


class Readers:
    """Each writes a number and reads it back, over one connection that it keeps: nothing older may come."""

    def __init__(self, port, count=4):
        self.port, self.errors, self.turns = port, [], [0] * count
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(count)]

    def _run(self, number):
        try:
            with RespClient(self.port, timeout=30) as client:
                client("SELECT", number % 3)
                client("CLIENT", "SETNAME", f"reader-{number}")
                mine = client("CLIENT", "ID")
                while not self._stop.is_set():
                    self.turns[number] += 1
                    client("SET", f"mine:{number}", self.turns[number])
                    assert int(client("GET", f"mine:{number}")) == self.turns[number]
                    assert client("CLIENT", "ID") == mine and client("CLIENT", "GETNAME") == f"reader-{number}".encode()
        except (OSError, ReplyError, AssertionError) as error:
            self.errors.append(f"reader {number}, turn {self.turns[number]}: {error!r}")

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        if kind is None:
            assert not self.errors, self.errors


class Pipeline:
    """Hundreds of requests always under way, their replies counted in order."""

    def __init__(self, port, depth=200):
        self.port, self.depth, self.error, self.replies = port, depth, None, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            with RespClient(self.port, timeout=30) as client:
                while not self._stop.is_set():
                    for _ in range(self.depth):
                        client.send("INCR", "pipeline")
                    for _ in range(self.depth):
                        self.replies += 1
                        assert client.read() == self.replies
        except (OSError, ReplyError, AssertionError) as error:
            self.error = repr(error)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        self._thread.join(30)
        if kind is None:
            assert self.error is None and self.replies > self.depth, (self.error, self.replies)


def syncs(server):
    return server.stat("sync_full")


def upgrade(instance):
    done = subprocess.run([str(harness.BINARY), "upgrade", "--admin", f"{HOST}:{instance.admin_port}"],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + instance.log_tail()
    return done.stdout


@pytest.mark.parametrize("threads", [1, 3])
def test_under_load_nobody_notices(lab, binary, threads):
    """0 errors, 0 stale reads, 0 lost writes, 0 full resyncs; clients keep their connections, names and ids."""
    primary, replica, below = lab.servers(3)
    instance = lab.instance([primary, replica], threads=threads)
    below.replicaof(instance)
    below.wait_link()
    idle = instance.client()
    idle("CLIENT", "SETNAME", "idle")
    run_id = instance.info("server")["run_id"]
    with Writers([instance.port]) as writers, Readers(instance.port), Pipeline(instance.port):
        for _ in range(3):
            before, pid = syncs(primary), instance.process.pid
            writers.go_on()
            assert f"process {pid}" in upgrade(instance)
            assert instance.succeeded() == 0
            assert instance.process.pid != pid
            writers.go_on()
            instance.wait_online()
            below.wait_link()
            assert instance.counters()["full_syncs"] == 0
            assert syncs(primary) == before
            assert idle("CLIENT", "GETNAME") == b"idle"
    writers.verify(primary)
    assert instance.info("server")["run_id"] == run_id, "Sentinel sees no restart"
    harness.wait_converged(primary, [replica, below])
    wait_for(lambda: instance("GET", "pipeline") and replica.calls("get") > 0, 10, "reads at replicas again")
    idle.close()


def test_who_is_in_the_middle_of_something_finishes_at_the_former_process(lab, binary):
    primary = lab.server()
    instance = lab.instance([primary], drain={"timeout": "30s"})
    client, blocked = instance.client(), instance.client()
    client("MULTI")
    client("SET", "a", "1")
    blocked.send("BLPOP", "list", 0)
    wait_for(lambda: primary.info("clients")["blocked_clients"] == "1", 10, "BLPOP to arrive")
    former = instance.process
    instance.signal(signal.SIGUSR2)
    wait_for(lambda: instance.status()["process"]["pid"] != former.pid, 20, "the next process to serve")
    assert instance("SET", "b", "2") == "OK"
    client("SET", "c", "3")
    assert client("EXEC") == ["OK", "OK"]
    assert client("GET", "b") == b"2", "and goes over then"
    assert instance("RPUSH", "list", "x") == 1
    assert blocked.read() == [b"list", b"x"]
    assert instance.succeeded() == 0
    assert client("GET", "c") == b"3" and blocked("PING") in ("PONG", b"PONG")


def test_a_replica_side_instance_and_options_of_the_moment(lab, binary):
    top, node = lab.servers(2)
    upper = lab.instance([top])
    lower = lab.instance([node], replicaof=upper, requirepass="word")
    with lower.client() as admin:
        assert admin("CONFIG", "SET", "repl-timeout", "77") == "OK"
        with Writers([upper.port]) as writers:
            before = syncs(top), node.stat("sync_full"), upper.counters()["full_syncs"]
            upgrade(lower)
            assert lower.succeeded() == 0
            writers.go_on()
            upgrade(upper)
            assert upper.succeeded() == 0
            writers.go_on()
            lower.wait_online()
            upper.wait_online()
            assert (syncs(top), node.stat("sync_full")) == before[:2]
            assert upper.counters()["full_syncs"] == lower.counters()["full_syncs"] == 0
        assert admin("CONFIG", "GET", "repl-timeout") == [b"repl-timeout", b"77"], "and it is logged in still"
    harness.wait_converged(top, [node])


def test_the_program_that_lies_there_now_is_started(lab, binary, monkeypatch):
    program = lab.dir / "sidestream"
    program.write_bytes(harness.BINARY.read_bytes())
    program.chmod(0o755)
    monkeypatch.setattr(harness, "BINARY", program)
    instance = lab.instance([lab.server()])
    client = instance.client()
    bad = lab.dir / "bad"
    for words in ("#!/bin/sh\nexit 7\n", "#!/bin/sh\nexec sleep 100\n", "no program"):
        bad.write_text(words)
        bad.chmod(0o755)
        os.replace(bad, program)
        pid = instance.process.pid
        status, _, body = ask(instance, "/api/v1/upgrade", "POST")
        assert status == 202, body
        wait_for(lambda: instance.status()["process"]["upgrade"]["state"] == "failed", 20, "it to give up")
        assert instance.status()["process"]["pid"] == pid and instance.alive()
        assert client("SET", "k", words[:5]) == "OK" and instance("GET", "k") == words[:5].encode()
    assert "given up, all is as before" in ask(instance, "/api/v1/events")[2]
    monkeypatch.undo()
    good = lab.dir / "good"
    good.write_bytes(harness.BINARY.read_bytes())
    good.chmod(0o755)
    os.replace(good, program)
    upgrade(instance)
    assert instance.succeeded() == 0
    assert os.readlink(f"/proc/{instance.process.pid}/exe") == str(program)
    assert client("GET", "k") == b"no pr"


def test_a_next_process_that_cannot_serve_leaves_the_former_one(lab, binary):
    """It has taken over replication already when it fails: all of that goes back."""
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica])
    path = instance.dir / "sidestream.yaml"
    config = json.loads(path.read_text())
    config["ready"] = {"min-nodes": 5}
    path.write_text(json.dumps(config))
    with Writers([instance.port]) as writers:
        writers.go_on()
        pid = instance.process.pid
        instance.signal(signal.SIGUSR2)
        wait_for(lambda: instance.status()["process"]["upgrade"]["state"] == "failed", 40, "it to give up")
        assert instance.status()["process"]["pid"] == pid
        writers.go_on()
        instance.wait_online()
    writers.verify(primary)
    assert "ready.min-nodes" not in instance("CONFIG", "GET", "ready.min-nodes")[1].decode()
    assert instance.counters()["full_syncs"] <= 1


def test_tls_clients_are_drained(lab, binary):
    """They cannot be passed on; they find the next process when they connect again."""
    from tls_files import Authority
    authority = Authority(lab.dir / "tls")
    cert, key = authority.issue("front")
    instance = lab.instance([lab.server()], start=False, tls={"listen-cert": str(cert), "listen-key": str(key)},
                            drain={"timeout": "1s"})
    instance.client_options = {"tls": authority.client_context()}
    instance.config["admin"] = f"tcp://{HOST}:{instance.admin_port}"
    instance.start().wait_up().wait_online()
    client = instance.client()
    client("SET", "k", "v")
    upgrade(instance)
    assert instance.succeeded() == 0
    assert instance("GET", "k") == b"v"
    with pytest.raises((OSError, ReplyError)):
        client("GET", "k")


def test_not_twice_and_not_while_draining(lab, binary):
    instance = lab.instance([lab.server()], drain={"timeout": "20s"})
    blocked = instance.client()
    blocked.send("BLPOP", "x", 0)
    wait_for(lambda: instance.status()["clients"]["connected"] == 2, 10, "two clients")
    assert ask(instance, "/api/v1/drain", "POST")[0] == 202
    status, _, body = ask(instance, "/api/v1/upgrade", "POST")
    assert status == 409 and "drained" in body
    blocked.close()
    assert ask(lab.instance([lab.server()]), "/api/v1/upgrade")[0] == 405
