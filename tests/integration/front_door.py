"""What tests of the front door share: addresses that are not loopback, PROXY headers, metrics by name."""

import http.client
import re
import socket
import struct
import subprocess

import pytest

from harness import HOST


def outside_address():
    """An address of this machine that is not loopback; skips where there is none."""
    done = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False)
    for word in done.stdout.split():
        if ":" not in word:
            return word
    pytest.skip("this machine has loopback only")


def proxy_one(host, port=4321):
    family = "TCP6" if ":" in host else "TCP4"
    mine = "::1" if ":" in host else "127.0.0.1"
    return f"PROXY {family} {host} {mine} {port} 6379\r\n".encode()


def proxy_two(host, port=4321, more=b""):
    family, name = (socket.AF_INET6, "::1") if ":" in host else (socket.AF_INET, "127.0.0.1")
    body = socket.inet_pton(family, host) + socket.inet_pton(family, name) + struct.pack(">HH", port, 6379) + more
    kind = b"\x21" if ":" in host else b"\x11"
    return b"\r\n\r\n\0\r\nQUIT\n\x21" + kind + struct.pack(">H", len(body)) + body


def metric(instance, name, **labels):
    """The value of one time series of /metrics."""
    connection = http.client.HTTPConnection(HOST, instance.admin_port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    for line in text.splitlines():
        found = re.match(rf"{name}(?:{{(.*)}})? (\S+)$", line)
        if found and dict(re.findall(r'(\w+)="([^"]*)"', found[1] or "")) == labels:
            return float(found[2])
    raise AssertionError(f"no {name} {labels} in the metrics")


def exchange(port, data, host=HOST, source=None, until_close=True):
    """What comes back for these bytes, until the other side closes."""
    with socket.create_connection((host, port), timeout=20, source_address=(source, 0) if source else None) as one:
        one.sendall(data)
        received = b""
        try:
            while piece := one.recv(65536):
                received += piece
                if not until_close:
                    break
        except ConnectionResetError:
            pass
        return received
