"""The admin address: probes, status, metrics, and what it does with requests that are none."""

import http.client
import json
import re
import signal
import socket

from harness import HOST, wait_for


def ask(instance, path, method="GET"):
    connection = http.client.HTTPConnection(HOST, instance.admin_port, timeout=5)
    connection.request(method, path)
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read().decode()


def exchange(instance, data):
    with socket.create_connection((HOST, instance.admin_port), timeout=5) as connection:
        connection.sendall(data)
        received = b""
        while True:
            piece = connection.recv(65536)
            if not piece:
                return received
            received += piece


def test_probes_say_what_they_mean(lab, binary):
    primary = lab.server()
    instance = lab.instance([primary])
    for path in ("/livez", "/startupz"):
        assert ask(instance, path)[0] == 200
    wait_for(lambda: ask(instance, "/readyz")[0] == 200, 10, "readiness")
    primary.pause()
    wait_for(lambda: ask(instance, "/readyz")[0] == 503, 10, "unready while the node is frozen")
    assert "does not answer" in ask(instance, "/readyz")[2]
    assert ask(instance, "/livez")[0] == 200, "a dead node is no reason to kill the instance"
    primary.resume()
    wait_for(lambda: ask(instance, "/readyz?verbose")[2].startswith("[+]"), 10, "readiness again")


def test_readiness_has_thresholds(lab, binary):
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica], flags=["--set", "ready.min-nodes=2"])
    wait_for(lambda: ask(instance, "/readyz")[0] == 200, 10, "readiness")
    replica.pause()
    wait_for(lambda: "1 nodes are online, ready.min-nodes is 2" in ask(instance, "/readyz")[2], 10, "too few nodes")
    replica.resume()
    wait_for(lambda: ask(instance, "/readyz")[0] == 200, 10, "readiness again")
    below = lab.instance([lab.server()], replicaof=instance, flags=["--set", "ready.max-lag=1s"])
    node = below.lab.processes[-2]
    wait_for(lambda: ask(below, "/readyz")[0] == 200, 10, "readiness of a replica")
    node.pause()
    instance("SET", "k", "v")
    wait_for(lambda: "ready.max-lag" in ask(below, "/readyz")[2], 10, "too far behind")
    assert ask(below, "/livez")[0] == ask(below, "/startupz")[0] == 200
    node.resume()
    wait_for(lambda: ask(below, "/readyz")[0] == 200, 10, "caught up")


def test_status_has_the_fields_of_the_contract(lab, binary):
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica])
    status = json.loads(ask(instance, "/api/v1/status")[2])
    assert {"version", "role", "state", "ready", "replid", "replid2", "offset", "second_offset", "backlog", "upstream",
            "nodes", "replicas", "counters", "clients"} <= set(status)
    assert {"first", "histlen", "memory_bytes", "disk_bytes"} <= set(status["backlog"])
    assert {"address", "state", "offset", "last_io_ms", "snapshot"} <= set(status["upstream"])
    assert {"address", "role", "state", "offset", "lag_bytes", "lag_ms", "reads", "writes"} <= set(status["nodes"][0])
    assert {"full_syncs", "partial_syncs", "snapshots_fetched", "snapshots_shared", "upstream_full_syncs",
            "upstream_partial_syncs", "reads_replica", "reads_primary", "writes", "held_writes", "failovers",
            "lost_writes"} <= set(status["counters"])
    assert json.loads(instance.client()("SIDESTREAM", "STATUS"))["replid"] == status["replid"]


def test_metrics_are_well_formed_and_move(lab, binary):
    primary = lab.server()
    instance = lab.instance([primary])
    client = instance.client()
    for _ in range(7):
        client("SET", "k", "v")
    text = ask(instance, "/metrics")[2]
    name = r"(sidestream|process)_\w+"
    for line in text.splitlines():
        assert re.fullmatch(rf"# (HELP|TYPE) {name} .+|{name}(\{{.*\}})? [-+.eE0-9]+", line), line
    assert 'sidestream_commands_total{class="write",route="primary"} 7' in text
    assert "sidestream_upstream_link_up 1" in text


def test_requests_that_are_wrong(lab, binary):
    instance = lab.instance([lab.server()])
    assert ask(instance, "/nothing")[0] == 404
    status, headers, _ = ask(instance, "/api/v1/drain")
    assert (status, headers["Allow"]) == (405, "POST")
    assert exchange(instance, b"\x16\x03\x01 this is not HTTP\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert exchange(instance, b"GET /livez HTTP/1.1\r\nX: " + b"y" * 200_000).startswith(b"HTTP/1.1 431")
    two = exchange(instance, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nHEAD /livez HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert two.count(b"HTTP/1.1 200 OK") == 2, "two requests in one segment"
    assert two.count(b"ok\n") == 1, "HEAD has no body"
    assert ask(instance, "/livez")[0] == 200


def test_secrets_are_not_shown(lab, binary):
    primary = lab.server()
    instance = lab.instance([primary], requirepass="hidden-word")
    with instance.client() as client:
        client("CONFIG", "SET", "masterauth", "hidden-word-2")
        client.raw("AUTH", "default", "hidden-word-wrong"), client.raw("HELLO", "3", "AUTH", "x", "hidden-word-3")
        client("CONFIG", "SET", "masterauth", "")
    for path in ("/api/v1/config", "/api/v1/status", "/metrics", "/api/v1/events", "/api/v1/history"):
        assert "hidden-word" not in ask(instance, path)[2]
    assert "hidden-word" not in instance.log_text(), "with log.level debug"


def test_the_log_is_opened_anew(lab, binary):
    instance = lab.instance([lab.server()], log={"file": str(lab.dir / "log"), "level": "notice", "format": "json"})
    moved = lab.dir / "log.1"
    (lab.dir / "log").rename(moved)
    instance.signal(signal.SIGUSR1)
    wait_for((lab.dir / "log").exists, 10, "the new file")
    instance("CONFIG", "SET", "repl-timeout", "61")
    wait_for(lambda: "repl-timeout" in (lab.dir / "log").read_text(), 10, "lines in it")
    assert "repl-timeout" not in moved.read_text()
    for path in (moved, lab.dir / "log"):
        assert all(json.loads(line)["msg"] for line in path.read_text().splitlines())


def test_drain_ends_the_process_well(lab, binary):
    instance = lab.instance([lab.server()])
    client = instance.client()
    client("SET", "k", "v")
    assert ask(instance, "/api/v1/drain", "POST")[0] == 202
    wait_for(lambda: not instance.alive(), 15, "the end of a drained instance")
    assert instance.process.returncode == 0
