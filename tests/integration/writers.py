"""Clients that notice any write that is lost, made twice or refused.

Happy path: `with Writers(ports) as writers: ...`; each writer counts with INCR and appends unique ids with RPUSH over
one connection that it keeps; `writers.verify(server)` compares with what a server holds. `with writers.watched("name")`
notes the longest time that anybody waited for a reply meanwhile, and `writers.report()` says it.
With `moves` a writer whose connection ends goes on at another port, as behind a Service, and looks there whether its
last write was made.
Failure modes: an error reply, or a broken connection without `moves`, ends its writer and is raised when the block
ends.
"""

import contextlib
import statistics
import threading
import time

from resp_client import ReplyError, RespClient


class Writers:
    def __init__(self, ports, count=8, pause=0.0005, timeout=30, moves=False):
        self.ports, self.pause, self.timeout, self.moves = ports, pause, timeout, moves
        self.written = [0] * count
        self.errors, self.waits, self.moved = [], [], 0
        self.rounds = {}  # name: [(begin, end, longest)]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]

    def _run(self, number):
        place = _Place(self, number)
        try:
            while not self._stop.is_set():
                wanted = self.written[number] + 1
                counted = self._write(place, wanted, ("GET", f"count:{number}"), "INCR", f"count:{number}")
                pushed = self._write(place, wanted, ("LLEN", f"list:{number}"),
                                     "RPUSH", f"list:{number}", f"{number}:{wanted - 1}")
                self.written[number] = wanted
                if not counted == pushed == wanted:
                    raise AssertionError(f"write {wanted} was answered {counted}, {pushed}")
                self._stop.wait(self.pause)
        except (OSError, ReplyError, AssertionError) as error:
            self.errors.append(f"writer {number} on {place.port}: {error!r}")
        finally:
            place.leave()

    def _write(self, place, wanted, question, *command):
        begin = time.monotonic()
        while True:
            try:
                reply = place.client()(*command)
                break
            except ConnectionError:
                if not self.moves:
                    raise
                self.moved += 1
                place.move()
                reply = int(place.client()(*question) or 0)
                if reply == wanted:
                    break
        self.waits.append((begin, time.monotonic() - begin))
        return reply

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def go_on(self, writes=20, timeout=60):
        """Until everybody has written so often again."""
        wanted = [before + writes for before in self.written]
        deadline = time.monotonic() + timeout
        while any(have < want for have, want in zip(self.written, wanted)):
            assert not self.errors, self.errors
            assert time.monotonic() < deadline, f"a writer hangs: {self.written}, wanted {wanted}"
            time.sleep(0.005)

    def __exit__(self, kind, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(self.timeout + 5)
        if kind is None:
            assert not self.errors, self.errors

    def longest(self, since=0.0, until=float("inf")):
        return max((took for begin, took in self.waits if begin < until and begin + took > since), default=0.0)

    @contextlib.contextmanager
    def watched(self, name):
        """What happens inside may make them wait."""
        begin = time.monotonic()
        yield
        self.go_on(3)
        end = time.monotonic()
        self.rounds.setdefault(name, []).append((begin, end, self.longest(begin, end)))

    def report(self):
        busy = [(begin, end) for rounds in self.rounds.values() for begin, end, _ in rounds]
        quiet = max((took for at, took in self.waits if all(at > end or at + took < begin for begin, end in busy)),
                    default=0.0)
        parts = [f"{name}: longest pause {max(found) * 1000:.0f} ms, median {statistics.median(found) * 1000:.0f} ms "
                 f"of {len(found)}" for name, rounds in self.rounds.items() for found in [[r[2] for r in rounds]]]
        return (f"{'; '.join(parts)} (between them {quiet * 1000:.0f} ms); {len(self.waits)} writes, "
                f"{self.moved} times another connection, {len(self.errors)} errors")

    def verify(self, server):
        """Every acknowledged write is there, once, in its order."""
        with server.client() as client:
            for number, written in enumerate(self.written):
                assert int(client("GET", f"count:{number}") or 0) == written, f"INCR of writer {number}"
                expected = [f"{number}:{i}".encode() for i in range(written)]
                assert client("LRANGE", f"list:{number}", 0, -1) == expected, f"RPUSH of writer {number}"


class _Place:
    """Where a writer is connected."""

    def __init__(self, writers, number):
        self.writers, self.turn, self._client = writers, number, None

    @property
    def port(self):
        return self.writers.ports[self.turn % len(self.writers.ports)]

    def client(self):
        if self._client is None:
            self._client = RespClient(self.port, timeout=self.writers.timeout)
        return self._client

    def leave(self):
        if self._client is not None:
            self._client.close()
        self._client = None

    def move(self):
        """To the next port at which somebody listens."""
        deadline = time.monotonic() + self.writers.timeout
        while True:
            self.leave()
            self.turn += 1
            try:
                self.client()
                return
            except ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
