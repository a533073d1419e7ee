"""Clients that nobody wants: garbage, half requests, huge counts, replies never read, bytes one by one, reconnects.

Happy path: BadClients(ports).start() ... stop(): each kind runs until then, in a thread and loop of its own; `counts`
says how often. They judge nothing: that they are cut off is right, what matters is how everybody else fares.
Failure modes: none; connection errors are what they are for.
"""

import asyncio
import random
import threading
from collections import Counter

from resp_client import encode

HOST = "127.0.0.1"
PROTOCOL_ERRORS = (b"*-5\r\n$3\r\nGET\r\n", b"*1\r\n$-7\r\n", b"*99999999999\r\n", b"*2147483648\r\n",
                   b"*1\r\n$999999999999\r\n", b"*x\r\n", b"*1\r\n+PING\r\n", b"set a \"unbalanced\r\n",
                   b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")


class BadClients:
    """`each`: how many of every kind there are at a time; `pause`: seconds between the attempts of one."""

    def __init__(self, ports, seed=1, each=2, pause=0.05):
        self.ports, self.rng, self.each, self.pause = ports, random.Random(seed), each, pause
        self.counts, self.stopping = Counter(), False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True)

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        self.stopping = True
        if self._thread.ident is not None:
            self._thread.join(60)

    async def _live(self):
        kinds = [self.garbage, self.protocol_error, self.half_request, self.huge_claim, self.never_reads,
                 self.slow_writer, self.churn]
        await asyncio.gather(*(self._repeat(kind) for kind in kinds for _ in range(self.each)))

    async def _repeat(self, kind):
        while not self.stopping:
            writer = None
            try:
                reader, writer = await asyncio.open_connection(HOST, self.rng.choice(self.ports))
                await kind(reader, writer)
                self.counts[kind.__name__] += 1
            except OSError:
                self.counts["cut off"] += 1
            finally:
                if writer is not None:
                    writer.close()
            await asyncio.sleep(self.pause)

    async def _listen(self, reader, seconds):
        try:
            await asyncio.wait_for(reader.read(), seconds)
        except asyncio.TimeoutError:
            pass

    async def garbage(self, reader, writer):
        writer.write(self.rng.randbytes(self.rng.randrange(1, 5000)))
        await self._listen(reader, 0.2)

    async def protocol_error(self, reader, writer):
        writer.write(encode("PING") + self.rng.choice(PROTOCOL_ERRORS))
        await self._listen(reader, 0.2)

    async def half_request(self, reader, writer):
        request = encode("SET", "half", self.rng.randbytes(self.rng.randrange(3000)))
        writer.write(request[:self.rng.randrange(1, len(request))])
        await asyncio.sleep(self.rng.random())

    async def huge_claim(self, reader, writer):
        """Says that half a gigabyte, or a million arguments, are to come, and sends a little of it."""
        writer.write(self.rng.choice((b"*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n$500000000\r\n",
                                      b"*1000000\r\n$3\r\nDEL\r\n")))
        for _ in range(20):
            writer.write(b"x" * 1000 if self.rng.random() < 0.5 else b"$1\r\nx\r\n" * 100)
            await asyncio.sleep(0.02)
            if writer.is_closing():
                return

    async def never_reads(self, reader, writer):
        """Asks for far more than the kernel's buffers take, then leaves."""
        writer.transport.pause_reading()
        writer.write(encode("SET", "large", b"v" * 100_000) + encode("GET", "large") * 300)
        await asyncio.sleep(1 + self.rng.random())

    async def slow_writer(self, reader, writer):
        for byte in encode("SET", "slow", "v" * 20) + encode("GET", "slow"):
            if writer.is_closing():
                return
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
        await self._listen(reader, 0.2)

    async def churn(self, reader, writer):
        """Ends at once, half of them with a reset."""
        if self.rng.random() < 0.5:
            writer.transport.abort()
