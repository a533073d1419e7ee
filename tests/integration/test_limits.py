"""limits.*: each is enforced with stock's words and consequences, and counted."""

import socket

import pytest
from harness import wait_for
from resp_client import ReplyError, encode

MB = 1 << 20


def closed(instance, limit):
    """The counter of /metrics for one limit."""
    with socket.create_connection(("127.0.0.1", instance.admin_port), timeout=10) as http:
        http.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b""
        while chunk := http.recv(65536):
            text += chunk
    line = next(line for line in text.decode().splitlines()
                if "client_connections_closed_total{" in line and limit in line)
    return int(float(line.split()[-1]))


def test_maxclients(lab):
    instance = lab.instance([lab.server()])
    assert instance("CONFIG", "GET", "maxclients") == [b"maxclients", b"10000"]
    with instance.client() as first:
        first("CONFIG", "SET", "maxclients", 1)
        with instance.client() as second:
            with pytest.raises(ReplyError, match="^ERR max number of clients reached$"):
                second("GET", "k")
        first("CONFIG", "SET", "maxclients", 100)
    assert instance("PING") == "PONG"


def test_query_buffer_is_counted(lab):
    instance = lab.instance([lab.server()])
    instance("CONFIG", "SET", "client-query-buffer-limit", MB)
    with instance.client() as client, pytest.raises((ConnectionError, OSError)):
        client.send("SET", "k", b"x" * (4 * MB))
        client.read()
    wait_for(lambda: closed(instance, "query-buffer") == 1, 10, "the counter")


def test_idle_timeout_spares_subscribers_and_the_blocked(lab):
    instance = lab.instance([lab.server()])
    with instance.client() as idle, instance.client() as subscriber, instance.client() as blocked, \
            instance.client() as monitor:
        assert idle("PING") == "PONG"
        subscriber("SUBSCRIBE", "c")
        blocked.send("BLPOP", "list", 0)
        monitor("MONITOR")
        with instance.client() as admin:
            assert admin("CONFIG", "SET", "timeout", 1) == "OK"
            assert admin("CONFIG", "GET", "timeout") == [b"timeout", b"1"]
        idle.socket.settimeout(20)
        assert idle.read_until_close() == b""
        assert instance("PUBLISH", "c", "hello") == 1
        assert subscriber.read() == [b"message", b"c", b"hello"]
        assert instance("RPUSH", "list", "x") == 1
        assert blocked.read() == [b"list", b"x"]
        while '"PUBLISH" "c" "hello"' not in monitor.read():
            pass  # it still hears everything


def test_a_subscriber_that_does_not_read_is_dropped(lab):
    instance = lab.instance([lab.server()])
    message = encode("PUBLISH", "c", b"x" * MB)
    with instance.client() as subscriber, instance.client(timeout=60) as publisher:
        subscriber("SUBSCRIBE", "c")
        for _ in range(64):
            publisher.send_raw(message)
            publisher.read()
        wait_for(lambda: closed(instance, "output-buffer") == 1, 20, "the subscriber to be dropped")
        assert publisher("PUBLISH", "c", "x") == 0
