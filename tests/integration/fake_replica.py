"""A scripted replica on a raw socket: it says what it is told to, and keeps every byte it is given.

Happy path: handshake(), psync("?", -1), read_payload(), ack(offset), then wait_stream(n).
Failure modes: every read is bounded by the socket timeout; a protocol surprise is an AssertionError with the bytes.
"""

import socket
import time
from collections import namedtuple

from resp_client import RespClient, encode

Payload = namedtuple("Payload", "kind data mark")


class FakeReplica(RespClient):
    def __init__(self, port, listening_port=0, capa=("eof", "psync2"), timeout=10.0, password=None, user=None):
        super().__init__(port, timeout=timeout, password=password, user=user)
        self.newlines = 0                    # keepalives seen outside the stream
        self.replid, self.start, self.offset = None, None, None
        self.stream = bytearray()
        self._handshake(listening_port, capa)

    def _handshake(self, listening_port, capa):
        assert self.raw("PING").startswith(b"+"), "PING in the handshake"
        if listening_port:
            assert self.raw("REPLCONF", "listening-port", listening_port) == b"+OK\r\n"
        if capa:
            words = [word for name in capa for word in ("capa", name)]
            assert self.raw("REPLCONF", *words) == b"+OK\r\n"

    def read_line(self):
        """The next non-empty line; counts the bare newlines before it."""
        line = bytearray()
        while True:
            byte = self.read_bytes(1)
            if byte != b"\n":
                line += byte
            elif line in (b"", b"\r"):
                self.newlines += 1
                line.clear()
            else:
                return bytes(line).rstrip(b"\r")

    def psync(self, replid, offset, *more):
        """Sends PSYNC and returns the reply line; remembers where the stream will start."""
        self.send("PSYNC", replid, offset, *more)
        return self.read_psync_reply(offset)

    def read_psync_reply(self, asked=-1):
        line = self.read_line()
        if line.startswith(b"+FULLRESYNC "):
            _, replid, offset = line.decode().split(" ")
            self.replid, self.start = replid, int(offset)
        elif line.startswith(b"+CONTINUE"):
            words = line.decode().split(" ")
            self.replid, self.start = (words[1] if len(words) > 1 else None), int(asked) - 1
        self.offset = self.start
        return line

    def read_header(self):
        """("len", size) or ("eof", mark)."""
        line = self.read_line()
        assert line.startswith(b"$"), f"expected a payload header, got {line!r}"
        if line.startswith(b"$EOF:"):
            assert len(line) == 45, f"EOF mark of a wrong length: {line!r}"
            return "eof", line[5:]
        return "len", int(line[1:])

    def read_payload(self):
        kind, detail = self.read_header()
        if kind == "len":
            return Payload(kind, self.read_bytes(detail), None)
        while self._data[-40:] != detail:
            # Whatever follows the mark shows up here: a primary must be silent until the first ACK.
            assert detail not in self._data[:-40], "bytes after the EOF mark, before any ACK"
            self._fill()
        data = bytes(self._data[:-40])
        self._data.clear()
        return Payload(kind, data, detail)

    def full_sync(self):
        line = self.psync("?", -1)
        assert line.startswith(b"+FULLRESYNC "), line
        payload = self.read_payload()
        self.ack()
        return payload

    def ack(self, offset=None):
        self.send("REPLCONF", "ACK", self.offset if offset is None else offset)

    def pump(self, seconds=0.05):
        """Takes what has arrived of the stream: waits at most so long for the first byte, then takes all there is."""
        self.socket.settimeout(seconds)
        try:
            self._fill()
            self.socket.settimeout(0.0)
            while True:
                self._fill()
        except (socket.timeout, BlockingIOError):
            pass
        finally:
            self.socket.settimeout(10)
            self.stream += self._data
            self.offset = (self.start or 0) + len(self.stream)
            self._data.clear()

    def wait_offset(self, offset, timeout=15, acking=True):
        """Reads the stream until that offset, acknowledging like a live replica."""
        deadline, acked = time.monotonic() + timeout, 0.0
        while self.offset < offset:
            assert time.monotonic() < deadline, f"stream stands at {self.offset}, waited for {offset}"
            self.pump()
            if acking and time.monotonic() - acked > 0.3:
                self.ack()
                acked = time.monotonic()
        return bytes(self.stream)

    def closed_within(self, seconds):
        """True when the peer closes; stream bytes that come before are kept."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self.pump()
            except (ConnectionError, OSError):
                return True
        return False


def sync_stream(port, **options):
    """An old-style client that sends SYNC; returns it with its payload read."""
    client = FakeReplica(port, **options)
    client.send_raw(b"SYNC\r\n")
    client.start = client.offset = 0
    return client, client.read_payload()


GETACK = encode("REPLCONF", "GETACK", "*")
PING = encode("ping")
