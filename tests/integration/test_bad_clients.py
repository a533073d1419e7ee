"""Bad input and bad clients: the instance stays up, its memory bounded, and good clients do not notice.

Happy path: hostile connections by the hundred or thousand, next to applications whose every reply is judged.
The bounds on memory are generous and stated beside each test; they fail when something grows with what a peer claims.
"""

import random
import socket
import struct
import sys

import pytest

from harness import HOST, ROOT, wait_for
from resp_client import RespClient, encode

sys.path.append(str(ROOT / "tests/chaos"))

from applications import Crowd, Ledger  # noqa: E402
from bad_clients import BadClients  # noqa: E402
from conductor import process_figures  # noqa: E402

MEGABYTE = 1024               # in kilobytes, as process_figures() counts


@pytest.fixture
def instance(lab, binary):
    return lab.instance(lab.servers(3), repl_backlog_size="1mb", log={"level": "warning", "file": str(lab.dir / "log")})


@pytest.fixture
def crowd(instance):
    """Twelve applications; at the end none of them may have noticed anything."""
    ledger = Ledger()
    crowd = Crowd([instance.port], ledger, applications=12, pause=0.02, listeners=1).start()
    wait_for(lambda: ledger.judged > 200, 60, "the applications to be at work")
    yield crowd
    before = ledger.commands
    wait_for(lambda: ledger.commands > before + 200, 60, "the applications to go on")
    crowd.stop()
    assert (ledger.findings, dict(ledger.errors), ledger.reconnects) == ([], {}, 0)
    assert instance.alive()
    wait_for(lambda: instance.status()["clients"]["connected"] <= 1, 60, "all clients to be gone")


def resident(instance):
    return process_figures(instance)[0]


def reset(connection):
    """Closes without leaving the port behind for a minute."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_ten_thousand_connects(instance, crowd):
    before, (_, descriptors) = resident(instance), process_figures(instance)
    for number in range(10_000):
        connection = socket.create_connection((HOST, instance.port), timeout=60)
        if number % 3 == 0:
            connection.sendall(b"*1\r\n$4\r\nPING\r\n" if number % 2 else b"*1\r\n$4")
        reset(connection)
    wait_for(lambda: process_figures(instance)[1] <= descriptors + 50, 60, "descriptors to be closed")
    assert resident(instance) < before + 50 * MEGABYTE


def test_every_kind_of_bad_client_at_once(instance, crowd):
    bad = BadClients([instance.port], each=4, pause=0.01).start()
    wait_for(lambda: len(bad.counts) >= 7 and min(bad.counts.values()) >= 5, 120, "all kinds to have had their turn")
    bad.stop()


def test_claims_cost_nothing(instance, crowd):
    """500 MB announced, or a million arguments, by 300 clients that send a kilobyte: nothing is reserved for it."""
    before, claims = resident(instance), []
    for number in range(300):
        connection = socket.create_connection((HOST, instance.port), timeout=60)
        head = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n" if number % 2 else b"*1000000\r\n$3\r\nDEL\r\n"
        connection.sendall(head + (b"x" * 1000 if number % 2 else b"$1\r\nx\r\n" * 100))
        claims.append(connection)
    with instance.client(timeout=60) as client:
        for _ in range(50):
            assert client("PING") == "PONG"
    assert resident(instance) < before + 50 * MEGABYTE
    for connection in claims:
        reset(connection)


def test_clients_that_never_read(instance, crowd):
    """Each asks for 100 MB at once and reads nothing: no more is fetched for a client that is not taking it."""
    with instance.client(timeout=60) as client:
        client("SET", "large", b"v" * 100_000)
    before, deaf = resident(instance), []
    for _ in range(40):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((HOST, instance.port))
        deaf.append(connection)
    with instance.client(timeout=60) as client:
        for connection in deaf:
            connection.sendall(encode("GET", "large") * 1000)
            assert client("GET", "large") == b"v" * 100_000
        for _ in range(50):
            assert client("GET", "large") == b"v" * 100_000
    grown = resident(instance) - before
    assert grown < 250 * MEGABYTE, f"{grown} KB for 40 clients that asked for 4 GB"
    for connection in deaf:
        reset(connection)


PIECES = [b"*", b"$", b"-", b":", b"\r\n", b"\n", b"\r", b"0", b"-1", b"1", b"3", b"2147483647", b"9" * 30, b"GET",
          b"k", b"\0", b"\"", b"'", b" ", b"MULTI", b"EXEC", b"*1\r\n$4\r\nPING\r\n", b"SUBSCRIBE c\r\n",
          b"HELLO 3\r\n", b"x" * 200]


def test_garbage_of_many_kinds(instance, crowd):
    """Made of what the protocol is made of. Each connection is answered or closed, and the next one is served."""
    rng = random.Random(4)
    for _ in range(400):
        with RespClient(instance.port, timeout=60) as client:
            client.send_raw(b"".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 30))))
            try:
                client.socket.shutdown(socket.SHUT_WR)
                client.read_until_close()
            except OSError:
                pass                         # closed already, with a reset
        assert instance("PING") == "PONG"
