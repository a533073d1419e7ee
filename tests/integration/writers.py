"""Clients that notice any write that is lost, made twice or refused.

Happy path: `with Writers(ports) as writers: ...`; each writer counts with INCR and appends unique ids with RPUSH over
one connection that it keeps; `writers.verify(server)` compares with what a server holds. `writers.longest_pause` is the
longest time, in seconds, that anybody waited for a reply.
Failure modes: an error reply or a broken connection ends its writer and is raised when the block ends.
"""

import threading
import time

from resp_client import ReplyError, RespClient


class Writers:
    def __init__(self, ports, count=8, pause=0.0005, timeout=30):
        self.ports, self.pause, self.timeout = ports, pause, timeout
        self.written = [0] * count
        self.replies = [0] * count
        self.errors, self.pauses = [], [0.0] * count
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]

    def _run(self, number):
        try:
            with RespClient(self.ports[number % len(self.ports)], timeout=self.timeout) as client:
                while not self._stop.is_set():
                    begin = time.monotonic()
                    counted = client("INCR", f"count:{number}")
                    pushed = client("RPUSH", f"list:{number}", f"{number}:{self.written[number]}")
                    self.pauses[number] = max(self.pauses[number], time.monotonic() - begin)
                    self.written[number] += 1
                    if not counted == pushed == self.written[number]:
                        raise AssertionError(f"write {self.written[number]} was answered {counted}, {pushed}")
                    self._stop.wait(self.pause)
        except (OSError, ReplyError, AssertionError) as error:
            self.errors.append(f"writer {number} on {self.ports[number % len(self.ports)]}: {error!r}")

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

    @property
    def longest_pause(self):
        return max(self.pauses)

    def verify(self, server):
        """Every acknowledged write is there, once, in its order."""
        with server.client() as client:
            for number, written in enumerate(self.written):
                assert int(client("GET", f"count:{number}") or 0) == written, f"INCR of writer {number}"
                expected = [f"{number}:{i}".encode() for i in range(written)]
                assert client("LRANGE", f"list:{number}", 0, -1) == expected, f"RPUSH of writer {number}"
