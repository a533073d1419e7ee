"""A TCP proxy that misbehaves on demand: delay, stall, throttle, cut, and cut after an exact byte.

Happy path: FaultProxy(port_of_the_server); point somebody at proxy.port; set proxy.delay = 0.2.
Failure modes: none of its own: when either side closes, the other side is closed too.

Directions: "up" is client to server, "down" is server to client. Attributes may be changed at any time.
"""

import asyncio
import socket
import threading

HOST = "127.0.0.1"


class _Pipe:
    """One direction of one connection."""

    def __init__(self, proxy, direction, reader, writer):
        self.proxy, self.direction, self.reader, self.writer = proxy, direction, reader, writer
        self.queue = asyncio.Queue(256)
        self.passed = 0

    async def pull(self):
        loop = asyncio.get_running_loop()
        while True:
            data = await self.reader.read(65536)
            await self.queue.put((loop.time() + self.proxy.delay_of(self.direction), data))
            if not data:
                return

    async def push(self):
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self.queue.get()
            await asyncio.sleep(max(0, due - loop.time()))
            await self.proxy.flowing[self.direction].wait()
            limit = self.proxy.limits.get(self.direction)
            if limit is not None:
                data = data[:max(0, limit - self.passed)]
            if not data:
                return
            self.passed += len(data)
            if self.proxy.records is not None:
                self.proxy.records[self.direction] += data
            self.writer.write(data)
            await self.writer.drain()
            if self.proxy.rate:
                await asyncio.sleep(len(data) / self.proxy.rate)
            if limit is not None and self.passed >= limit:
                return


class FaultProxy:
    """Listens on `port` and forwards to `target`; runs in a thread of its own until close()."""

    def __init__(self, target, port=0):
        self.target = target
        self.delay = 0.0                     # seconds, both directions
        self.delays = {}                     # per direction, wins over `delay`
        self.rate = 0                        # bytes per second and direction, 0 = unlimited
        self.limits = {}                     # direction -> bytes of each new connection that pass before it is cut
        self.records = None                  # set by record()
        self.refusing = False                # accept and close at once
        self.accepted = 0
        self._writers = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(port, ready), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the fault proxy did not start"

    def _run(self, port, ready):
        asyncio.set_event_loop(self._loop)
        self.flowing = {"up": asyncio.Event(), "down": asyncio.Event()}
        for event in self.flowing.values():
            event.set()
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, HOST, port))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def delay_of(self, direction):
        return self.delays.get(direction, self.delay)

    async def _serve(self, client_reader, client_writer):
        self.accepted += 1
        try:
            if self.refusing:
                return
            server_reader, server_writer = await asyncio.open_connection(HOST, self.target)
        except OSError:
            return
        finally:
            if self.refusing or "server_writer" not in locals():
                client_writer.close()
        await self._relay(client_reader, client_writer, server_reader, server_writer)

    async def _relay(self, client_reader, client_writer, server_reader, server_writer):
        writers = {client_writer, server_writer}
        self._writers |= writers
        up = _Pipe(self, "up", client_reader, server_writer)
        down = _Pipe(self, "down", server_reader, client_writer)
        tasks = [asyncio.ensure_future(step) for pipe in (up, down) for step in (pipe.pull(), pipe.push())]
        pushes = [tasks[1], tasks[3]]
        try:
            await asyncio.wait(pushes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for writer in writers:
                writer.close()
            self._writers -= writers

    def _call(self, function):
        done = threading.Event()

        def run():
            function()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10), "the fault proxy does not react"

    def stall(self, *directions):
        """Holds the bytes back, connections stay open. Without names: both directions."""
        self._call(lambda: [self.flowing[d].clear() for d in directions or ("up", "down")])

    def resume(self):
        self._call(lambda: [event.set() for event in self.flowing.values()])

    def cut(self):
        """Closes every connection now, with a reset; new ones are accepted."""
        def abort():
            for writer in list(self._writers):
                writer.transport.abort()
        self._call(abort)

    def connections(self):
        return len(self._writers) // 2

    def record(self):
        """From now on keeps all bytes in `records["up"]` and `records["down"]`."""
        self.records = {"up": bytearray(), "down": bytearray()}

    def close(self):
        if self._loop.is_running():
            self.cut()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)


def refused_port():
    """A port on which nobody listens (bound, never listening, for as long as the returned socket lives)."""
    holder = socket.socket()
    holder.bind((HOST, 0))
    return holder.getsockname()[1], holder
