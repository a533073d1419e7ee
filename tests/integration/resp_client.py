"""A RESP client that keeps the bytes: what a test compares is exactly what came over the wire.

Happy path: `client("GET", "k")` returns a Python value and raises ReplyError on an error reply;
`client.raw("GET", "k")` returns the reply's own bytes, errors included.
Failure modes: every read is bounded by the socket timeout; a peer that closed raises ConnectionError.

Values: simple string -> str, bulk/verbatim -> bytes, integer -> int, null -> None, array/set -> list,
map -> dict, double -> float, push -> Push. Attributes are skipped.
"""

import socket


class ReplyError(Exception):
    """An error reply, without the leading '-'."""


class Push(list):
    """An out-of-band RESP3 message."""


class _Incomplete(Exception):
    pass


def encode(*args):
    """One command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def _line(data, pos):
    end = data.find(b"\r\n", pos)
    if end < 0:
        raise _Incomplete
    return bytes(data[pos:end]), end + 2


def _blob(data, pos, size):
    if len(data) < pos + size + 2:
        raise _Incomplete
    return bytes(data[pos:pos + size]), pos + size + 2


def _items(data, pos, count):
    items = []
    for _ in range(count):
        value, pos = parse(data, pos)
        items.append(value)
    return items, pos


def _key(value):
    return value if not isinstance(value, (list, dict)) else repr(value)


_SCALARS = {
    b"+": lambda rest: rest.decode(errors="replace"),
    b"-": lambda rest: ReplyError(rest.decode(errors="replace")),
    b":": int,
    b"(": int,
    b",": float,
    b"#": lambda rest: rest == b"t",
    b"_": lambda rest: None,
}


def parse(data, pos=0):
    """The value that starts at `pos` and the position behind it; raises _Incomplete when bytes are missing."""
    rest, after = _line(data, pos)
    kind, rest = rest[:1], rest[1:]
    if kind in _SCALARS:
        return _SCALARS[kind](rest), after
    if kind not in (b"$", b"=", b"!", b"*", b"~", b">", b"%", b"|"):
        raise AssertionError(f"not a reply: {bytes(data[pos:pos + 80])!r}")
    size = int(rest)
    if size < 0:
        return None, after
    if kind in (b"$", b"=", b"!"):
        blob, after = _blob(data, after, size)
        return ReplyError(blob.decode()) if kind == b"!" else blob[4:] if kind == b"=" else blob, after
    if kind in (b"%", b"|"):
        flat, after = _items(data, after, 2 * size)
        if kind == b"|":
            return parse(data, after)
        return {_key(k): v for k, v in zip(flat[::2], flat[1::2])}, after
    items, after = _items(data, after, size)
    return (Push(items) if kind == b">" else items), after


class RespClient:
    """One connection. Not safe to share between threads. `first`: sent in front of all, TLS included."""

    def __init__(self, port, host="127.0.0.1", timeout=10.0, protocol=2, password=None, user=None, tls=None, first=b""):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if first:
            self.socket.sendall(first)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        self._data = bytearray()
        if password is not None:
            self("AUTH", *([user] if user else []), password)
        if protocol == 3:
            self("HELLO", 3)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send_raw(self, data):
        self.socket.sendall(data)

    def send(self, *args):
        self.send_raw(encode(*args))

    def _fill(self):
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError(f"closed by the peer; unread: {bytes(self._data[:200])!r}")
        self._data += chunk

    def read_both(self):
        """The next reply as (value, its bytes)."""
        while True:
            try:
                value, end = parse(self._data)
            except _Incomplete:
                self._fill()
                continue
            raw = bytes(self._data[:end])
            del self._data[:end]
            return value, raw

    def read(self):
        value = self.read_both()[0]
        if isinstance(value, ReplyError):
            raise value
        return value

    def read_raw(self):
        return self.read_both()[1]

    def read_bytes(self, count):
        """Exactly `count` bytes, whatever they are."""
        while len(self._data) < count:
            self._fill()
        data = bytes(self._data[:count])
        del self._data[:count]
        return data

    def __call__(self, *args):
        self.send(*args)
        return self.read()

    def raw(self, *args):
        self.send(*args)
        return self.read_raw()

    def pipeline(self, commands):
        """All commands in one write; their replies as values, errors as ReplyError objects."""
        self.send_raw(b"".join(encode(*command) for command in commands))
        return [self.read_both()[0] for _ in commands]

    def pipeline_raw(self, commands):
        self.send_raw(b"".join(encode(*command) for command in commands))
        return [self.read_raw() for _ in commands]

    def read_until_close(self):
        """All bytes up to the peer's close; raises socket.timeout when it stays open."""
        while True:
            try:
                self._fill()
            except (ConnectionError, ConnectionResetError):
                data = bytes(self._data)
                self._data.clear()
                return data

    def silent_for(self, seconds):
        """True when nothing arrives (and nobody closes) for that long."""
        if self._data:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self._fill()
            return False
        except socket.timeout:
            return True
        except ConnectionError:
            return False
        finally:
            self.socket.settimeout(before)


def same_reply(stock, subject, *command):
    """Sends one command to both; the subject must answer with exactly the stock server's bytes."""
    expected, actual = stock.raw(*command), subject.raw(*command)
    assert actual == expected, f"{command!r}: stock {expected!r}, instance {actual!r}"
    return actual


def same_bytes(stock, subject, request, replies=1):
    """Sends raw request bytes to both and compares that many replies byte for byte."""
    for side in (stock, subject):
        side.send_raw(request)
    for index in range(replies):
        expected, actual = stock.read_raw(), subject.read_raw()
        assert actual == expected, f"{request!r} reply {index}: stock {expected!r}, instance {actual!r}"
