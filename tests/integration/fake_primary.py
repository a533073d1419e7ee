"""A scripted primary: by default a correct one over a history held in memory, with every answer replaceable.

Happy path: FakePrimary(databases={0: {...}}); point a replica at .port; feed(encode("SET", "k", "v")).
Failure modes: what the script asks for. `on[NAME]` replaces the answer to a command: bytes are sent, CLOSE closes,
SILENCE says nothing, a callable gets (connection, words) and returns one of these. `answers` lists one-shot
replacements for PSYNC, in order. `commands` records (connection number, words) of everything received.
"""

import random
import socket
import threading
import time

from resp_client import RespClient, _Incomplete, encode, parse
from tiny_rdb import make_rdb

CLOSE, SILENCE = object(), object()
HOST = "127.0.0.1"


def random_replid():
    return "".join(random.choice("0123456789abcdef") for _ in range(40))


class _Connection:
    """One accepted connection, served by a thread of its own."""

    def __init__(self, primary, sock, number):
        self.primary, self.socket, self.number = primary, sock, number
        self.sent = None                     # stream offset up to which bytes were sent; None: not a replica
        self.filtered = self.rdb_only = False
        self.waiting_ack = False

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.close()

    def close(self):
        self.sent = None
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()

    def run(self):
        data = bytearray()
        while True:
            try:
                chunk = self.socket.recv(65536)
            except OSError:
                chunk = b""
            if not chunk:
                self.sent = None
                return
            data += chunk
            self._drain(data)

    def _drain(self, data):
        while data:
            if data[:1] != b"*":
                end = data.find(b"\n")
                if end < 0:
                    return
                line = bytes(data[:end]).split()
                del data[:end + 1]
                if line:
                    self.primary.execute(self, line)
                continue
            try:
                words, end = parse(data)
            except _Incomplete:
                return
            del data[:end]
            self.primary.execute(self, words)


class FakePrimary:
    def __init__(self, replid=None, offset=1000, databases=None, port=0, backlog_from=None):
        self.replid, self.replid2, self.second = replid or random_replid(), "0" * 40, -1
        self.base = offset if backlog_from is None else backlog_from - 1
        self.history = bytearray(offset - self.base)     # bytes base+1 .. offset
        self.databases = databases or {}
        self.eof_payload = True
        self.make_payload = None             # callable(connection) -> bytes, instead of the default payload
        self.on, self.answers = {}, []
        self.commands, self.acks = [], []    # acks: (connection number, offset, time)
        self.syncs = {"full": 0, "filtered": 0, "partial": 0}
        self.lock = threading.RLock()
        self.connections = []
        self.listener = socket.create_server((HOST, port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def offset(self):
        return self.base + len(self.history)

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, sock, len(self.connections))
            self.connections.append(connection)
            threading.Thread(target=connection.run, daemon=True).start()

    def execute(self, connection, words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        name = words[0].decode().upper()
        with self.lock:
            self.commands.append((connection.number, words))
            answer = self.on.get(name)
            if name == "PSYNC" and self.answers:
                answer = self.answers.pop(0)
            if answer is None:
                answer = getattr(self, "_" + name.lower(), self._unknown)
            if callable(answer):
                answer = answer(connection, words)
            if answer is CLOSE:
                connection.close()
            elif answer is not SILENCE and answer is not None:
                connection.send(answer)

    # The default answers. ------------------------------------------------------------------------------------

    def _unknown(self, _connection, words):
        return b"-ERR unknown command '%s', with args beginning with: \r\n" % words[0]

    def _ping(self, _connection, _words):
        return b"+PONG\r\n"

    def _select(self, _connection, _words):
        return b"+OK\r\n"

    _auth = _client = _select

    def _get(self, _connection, words):
        """Of database 0; an instance sends reads here when no replica is proven fresh."""
        value = self.databases.get(0, {}).get(words[1].decode())
        return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value.encode())

    def _role(self, _connection, _words):
        return b"*3\r\n$6\r\nmaster\r\n:%d\r\n*0\r\n" % self.offset

    def _info(self, _connection, _words):
        keys = "".join(f"db{n}:keys={len(k)},expires=0,avg_ttl=0\r\n" for n, k in self.databases.items())
        text = (f"# Server\r\nredis_version:7.0.15\r\nrun_id:{'f' * 40}\r\n\r\n# Persistence\r\nloading:0\r\n\r\n"
                f"# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n"
                f"master_replid:{self.replid}\r\nmaster_replid2:{self.replid2}\r\n"
                f"master_repl_offset:{self.offset}\r\nsecond_repl_offset:{self.second}\r\nrepl_backlog_active:1\r\n"
                f"repl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:{self.base + 1}\r\n"
                f"repl_backlog_histlen:{len(self.history)}\r\n\r\n# Keyspace\r\n{keys}").encode()
        return b"$%d\r\n%s\r\n" % (len(text), text)

    def _replconf(self, connection, words):
        option = words[1].lower()
        if option == b"ack":
            self.acks.append((connection.number, int(words[2]), time.monotonic()))
            if connection.waiting_ack:
                connection.waiting_ack = False
                self._flow(connection)
            return None
        if option == b"rdb-filter-only":
            connection.filtered = True
        elif option == b"rdb-only" or b"rdb-only" in words:
            connection.rdb_only = True
        elif option not in (b"listening-port", b"ip-address", b"capa"):
            return b"-ERR Unrecognized REPLCONF option: %s\r\n" % words[1]
        return b"+OK\r\n"

    def can_continue(self, replid, asked):
        same = replid == self.replid or (replid == self.replid2 and asked <= self.second)
        return same and self.base + 1 <= asked <= self.offset + 1

    def _psync(self, connection, words):
        replid, asked = words[1].decode(), int(words[2])
        if self.can_continue(replid, asked):
            return self.resume(connection, asked)
        return self.full(connection)

    def _sync(self, connection, words):
        return self.full(connection, announce=False)

    def resume(self, connection, asked, line=None):
        self.syncs["partial"] += 1
        connection.send(line or b"+CONTINUE %s\r\n" % self.replid.encode())
        connection.sent = asked - 1
        self._flow(connection)

    def full(self, connection, announce=True):
        self.syncs["filtered" if connection.filtered else "full"] += 1
        if announce:
            connection.send(b"+FULLRESYNC %s %d\r\n" % (self.replid.encode(), self.offset))
        connection.sent = self.offset
        connection.waiting_ack = self.eof_payload
        payload = self.make_payload(connection) if self.make_payload else self.payload(connection)
        if payload is CLOSE:
            return CLOSE
        if payload is SILENCE:
            return None
        connection.send(payload)
        if connection.rdb_only:
            return CLOSE
        return None

    def rdb(self, connection):
        return make_rdb(self.replid, self.offset, {} if connection.filtered else self.databases)

    def payload(self, connection):
        rdb = self.rdb(connection)
        if not self.eof_payload:
            return b"$%d\r\n%s" % (len(rdb), rdb)
        mark = random_replid().encode()
        return b"$EOF:%s\r\n%s%s" % (mark, rdb, mark)

    # The script's levers. ------------------------------------------------------------------------------------

    def _flow(self, connection):
        if connection.sent is None or connection.waiting_ack:
            return
        data = bytes(self.history[connection.sent - self.base:])
        connection.sent = self.offset
        if data:
            connection.send(data)

    def feed(self, data):
        """Appends stream bytes and sends them to every attached replica."""
        with self.lock:
            self.history += data
            for connection in self.connections:
                self._flow(connection)

    def write(self, *args):
        self.feed(encode(*args))

    def promote(self):
        """What a promotion upstream does: a new id, the old one valid up to here, every replica cut."""
        with self.lock:
            self.replid2, self.second, self.replid = self.replid, self.offset + 1, random_replid()
            self.cut()

    def cut(self):
        with self.lock:
            for connection in self.connections:
                connection.close()

    def links(self):
        return [c for c in self.connections if c.sent is not None]

    def last_ack(self):
        return self.acks[-1][1] if self.acks else None

    def received(self, name):
        return [words for _, words in list(self.commands) if words[0].decode().upper() == name]

    def close(self):
        self.listener.close()
        self.cut()


def client_of(fake):
    return RespClient(fake.port)
