"""Applications: many connections in one asyncio loop, each judging every reply it gets, whatever happens meanwhile.

Happy path: Crowd(ports, ledger, options) in a thread of its own: start(), stop(); each application sends bursts of
mixed commands, knows what each reply may be, and writes down what it was promised in the ledger all of them share.
Failure modes: a reply that does not belong to its request, an old value, a lost or doubled write, an unknown error
text and an application that hangs are `ledger.wrong()`; errors that say what is the matter, and broken connections,
are counted.
"""

import asyncio
import random
import threading
import time
from collections import Counter, deque

from resp_client import Push, ReplyError, _Incomplete, encode, parse

HOST = "127.0.0.1"
SCRIPT = "return redis.call('set', KEYS[1], ARGV[1])"
HANGS_AFTER = 60          # seconds without a reply: no trouble lasts so long
# What clients may be told while servers are in trouble. Anything else is wrong.
EXPECTED_ERRORS = ("MASTERDOWN", "LOADING", "READONLY", "UNBLOCKED", "EXECABORT",
                   "ERR the connection to the primary broke before the reply: the outcome of this write is unknown")


def clock():
    """As in the logs of the instance."""
    now = time.time()
    return time.strftime("%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03}"


class Promise:
    """What is known about one key: numbers that only its owner writes, 1, 2, 3 ..."""
    __slots__ = ("issued", "acked", "seen")

    def __init__(self):
        self.issued = self.acked = self.seen = 0


class Ledger:
    """What all applications know together. Used by the crowd's thread; the conductor reads it between troubles."""

    def __init__(self, keys=256):
        self.keys = [Promise() for _ in range(keys)]
        self.counters = {}                   # name -> Promise
        self.hot = deque([0], maxlen=16)     # keys written a moment ago
        self.epoch = 0                       # grows when acknowledged writes were lost in a way that has a name
        self.blind = False                   # such a loss is going on: old values are not judged
        self.findings, self.found = [], Counter()
        self.errors = Counter()
        self.commands = self.reads = self.writes = self.judged = self.reconnects = self.messages = 0
        self.disturbed = False
        self.calm_latencies, self.latencies = [], []

    def wrong(self, kind, text):
        self.found[kind] += 1
        if len(self.findings) < 50:
            self.findings.append(f"{clock()} {kind}: {text}")

    def took(self, seconds):
        samples = self.latencies if self.disturbed else self.calm_latencies
        if len(samples) < 400_000:
            samples.append(seconds)


def value_of(key, number, size):
    return b"k:%d=%d=%s" % (key, number, b"x" * size)


def number_in(key, value):
    """The number in a value of that key; 0 for a missing one, None for what was never written there."""
    if value is None:
        return 0
    parts = value.split(b"=", 2) if isinstance(value, bytes) else ()
    if len(parts) != 3 or parts[0] != b"k:%d" % key or not parts[1].isdigit():
        return None
    return int(parts[1])


class Application:
    """One client that reconnects. `own`: the keys that only it writes."""

    def __init__(self, crowd, number):
        self.crowd, self.ledger, self.number = crowd, crowd.ledger, number
        self.rng = random.Random(crowd.seed * 1000 + number)
        self.own = [k for k in range(len(self.ledger.keys)) if k % crowd.applications == number]
        self.counter = self.ledger.counters.setdefault(f"c:{number}", Promise())
        self.tokens = 0
        self.bursts = 0

    # ---- asking: each question is (how to judge the reply, what is needed for that); the commands go to `out`

    def token(self):
        self.tokens += 1
        return b"%d.%d" % (self.number, self.tokens)

    def compose(self):
        self.out, self.asked = [], []
        kinds = self.rng.choices(self.crowd.kinds, self.crowd.weights, k=self.rng.randint(1, self.crowd.burst))
        for kind in kinds:
            getattr(self, "ask_" + kind)()
        return b"".join(self.out)

    def ask(self, judge, *context, command):
        self.out.append(encode(*command))
        self.asked.append((judge, context))

    def issue(self):
        key = self.rng.choice(self.own)
        promise = self.ledger.keys[key]
        promise.issued += 1
        size = 20_000 if self.rng.random() < 0.002 else self.rng.randrange(80)
        return key, promise.issued, value_of(key, promise.issued, size)

    def any_key(self):
        if self.rng.random() < 0.4:
            return self.rng.choice(self.ledger.hot)
        return self.rng.randrange(len(self.ledger.keys))

    def floor(self, key):
        promise = self.ledger.keys[key]
        return max(promise.acked, promise.seen)

    def ask_set(self):
        key, number, value = self.issue()
        self.ask(self.judge_set, key, number, command=("SET", f"k:{key}", value))

    def ask_script(self):
        key, number, value = self.issue()
        self.ask(self.judge_set, key, number, command=("EVAL", SCRIPT, 1, f"k:{key}", value))

    def ask_get(self):
        key = self.any_key()
        self.ask(self.judge_get, key, self.floor(key), command=("GET", f"k:{key}"))

    def ask_mget(self):
        keys = [self.any_key() for _ in range(3)]
        floors = [self.floor(key) for key in keys]
        self.ask(self.judge_mget, keys, floors, command=("MGET", *(f"k:{key}" for key in keys)))

    def ask_echo(self):
        token = self.token()
        self.ask(self.judge_same, token, command=("ECHO", token))

    def ask_incr(self):
        self.counter.issued += 1
        self.ask(self.judge_incr, command=("INCR", f"c:{self.number}"))

    def ask_transaction(self):
        key, number, value = self.issue()
        other = self.any_key()
        self.ask(self.judge_same, "OK", command=("MULTI",))
        self.ask(self.judge_same, "QUEUED", command=("SET", f"k:{key}", value))
        self.ask(self.judge_same, "QUEUED", command=("GET", f"k:{other}"))
        self.ask(self.judge_exec, key, number, other, self.floor(other), command=("EXEC",))

    def ask_queue(self):
        token = self.token()
        self.ask(self.judge_number, command=("RPUSH", f"q:{self.number}", token))
        self.ask(self.judge_pop, command=("BLPOP", f"q:{self.number}", 1))

    def ask_hash(self):
        self.ask(self.judge_number, command=("HSET", f"h:{self.number}", "a", self.token(), "b", self.token()))
        self.ask(self.judge_hash, command=("HGETALL", f"h:{self.number}"))

    def ask_publish(self):
        self.ask(self.judge_number, command=("PUBLISH", "news", self.token()))

    # ---- judging

    def judge(self, question, reply):
        judge, context = question
        self.ledger.commands += 1
        if isinstance(reply, ReplyError):
            text = str(reply)
            self.ledger.errors[text[:60]] += 1
            if not text.startswith(EXPECTED_ERRORS):
                self.ledger.wrong("error", f"{judge.__name__[6:]} {context}: {text}")
        else:
            judge(reply, *context)

    def misfit(self, asked, reply):
        self.ledger.wrong("misfit", f"application {self.number} asked {asked}, heard {str(reply)[:100]}")

    def judge_same(self, reply, expected):
        if reply != expected:
            self.misfit(expected, reply)

    def judge_number(self, reply):
        if not isinstance(reply, int):
            self.misfit("a number", reply)

    def judge_set(self, reply, key, number):
        self.ledger.writes += 1
        if reply != "OK":
            return self.misfit(f"SET k:{key}", reply)
        promise = self.ledger.keys[key]
        promise.acked = max(promise.acked, number)
        self.mine[key] = number
        self.ledger.hot.append(key)

    def judge_get(self, reply, key, floor):
        self.ledger.reads += 1
        number = number_in(key, reply)
        promise = self.ledger.keys[key]
        if number is None or number > promise.issued:
            return self.misfit(f"GET k:{key}", reply)
        if self.ledger.blind or self.epoch != self.ledger.epoch:
            return
        self.ledger.judged += 1
        floor = max(floor, self.mine.get(key, 0))
        if number < floor:
            self.ledger.wrong("stale", f"k:{key} gave {number}, {floor} was known when it was asked "
                                       f"(acknowledged {promise.acked}, issued {promise.issued}), {self.link}")
        promise.seen = max(promise.seen, number)

    def judge_mget(self, reply, keys, floors):
        if not isinstance(reply, list) or len(reply) != len(keys):
            return self.misfit("MGET", reply)
        for key, floor, value in zip(keys, floors, reply):
            self.judge_get(value, key, floor)

    def judge_incr(self, reply):
        counter = self.counter
        if not isinstance(reply, int):
            return self.misfit("INCR", reply)
        self.ledger.writes += 1
        if reply > counter.issued:
            self.ledger.wrong("doubled", f"c:{self.number} is {reply} after {counter.issued} increments")
        if reply <= counter.acked and not self.ledger.blind and self.epoch == self.ledger.epoch:
            self.ledger.wrong("lost", f"c:{self.number} is {reply}, it was {counter.acked}")
        counter.acked = max(counter.acked, reply)

    def judge_exec(self, reply, key, number, other, floor):
        if not isinstance(reply, list) or len(reply) != 2:
            return self.misfit("EXEC", reply)
        self.judge_set(reply[0], key, number)
        self.judge_get(reply[1], other, floor)

    def judge_pop(self, reply):
        prefix = b"%d." % self.number
        if reply is not None and (reply[0] != b"q:%d" % self.number or not reply[1].startswith(prefix)):
            self.misfit("BLPOP", reply)

    def judge_hash(self, reply):
        pairs = reply if isinstance(reply, dict) else dict(zip(map(repr, reply[::2]), reply[1::2]))
        if not all(value.startswith(b"%d." % self.number) for value in pairs.values()):
            self.misfit("HGETALL", reply)

    # ---- talking

    async def live(self):
        while not self.crowd.stopping:
            try:
                await self.talk()
            except (OSError, EOFError, asyncio.IncompleteReadError):
                self.ledger.reconnects += 1
                await asyncio.sleep(0.02)

    async def talk(self):
        port = self.rng.choice(self.crowd.ports)
        reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 22)
        self.data = bytearray()
        self.link = "%s:%d to %d" % (*writer.get_extra_info("sockname")[:2], port)
        try:
            if self.number % 4 == 3:
                writer.write(encode("HELLO", 3))
                await self.next_reply(reader)
            for _ in range(self.rng.randrange(20, 2000)):
                if self.crowd.stopping:
                    return
                await self.converse(reader, writer)
                await asyncio.sleep(self.crowd.pause * self.rng.random() * 2)
        finally:
            writer.close()

    async def converse(self, reader, writer):
        request, self.mine, self.epoch = self.compose(), {}, self.ledger.epoch
        began = time.monotonic()
        writer.write(request)
        for question in self.asked:
            self.judge(question, await self.next_reply(reader))
        self.ledger.took(time.monotonic() - began)
        self.bursts += 1

    async def next_reply(self, reader):
        while True:
            if self.data:
                try:
                    value, end = parse(self.data)
                except _Incomplete:
                    pass
                else:
                    del self.data[:end]
                    if isinstance(value, Push):
                        continue
                    return value
            try:
                chunk = await asyncio.wait_for(reader.read(1 << 18), HANGS_AFTER)
            except asyncio.TimeoutError:
                self.ledger.wrong("hang", f"application {self.number} waits for {self.asked[0][0].__name__}")
                raise EOFError from None
            if not chunk:
                raise EOFError
            self.data += chunk


class Listener(Application):
    """A subscriber: every message is one that somebody sent."""

    async def talk(self):
        reader, writer = await asyncio.open_connection(HOST, self.crowd.ports[0])
        self.data, self.asked = bytearray(), [(self.judge_same, ())]
        try:
            writer.write(encode("SUBSCRIBE", "news"))
            while not self.crowd.stopping:
                try:
                    value, end = parse(self.data)
                except _Incomplete:
                    chunk = await reader.read(1 << 16)
                    if not chunk:
                        raise EOFError from None
                    self.data += chunk
                    continue
                del self.data[:end]
                if value[:2] == [b"message", b"news"] and b"." in value[2]:
                    self.ledger.messages += 1
                elif value != [b"subscribe", b"news", 1]:
                    self.misfit("a message", value)
        finally:
            writer.close()


MIX = {"get": 45, "set": 20, "mget": 8, "incr": 6, "echo": 5, "transaction": 3, "queue": 2, "hash": 3, "script": 1,
       "publish": 1}


class Crowd:
    """`applications` clients on `ports`, in a thread with a loop of its own. `pause`: seconds between bursts, mean."""

    def __init__(self, ports, ledger, applications=64, seed=1, pause=0.02, burst=12, mix=None, listeners=2):
        self.ports, self.ledger, self.applications, self.seed, self.pause = ports, ledger, applications, seed, pause
        self.burst, self.stopping, self.failure = burst, False, None
        mix = mix or MIX
        self.kinds, self.weights = list(mix), list(mix.values())
        self.members = [Application(self, n) for n in range(applications)]
        self.members += [Listener(self, n) for n in range(listeners)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        except Exception as error:  # handed to whoever calls stop()
            self.failure = error

    async def _live(self):
        tasks = [asyncio.ensure_future(member.live()) for member in self.members]
        listeners = [task for task, member in zip(tasks, self.members) if isinstance(member, Listener)]
        workers = [task for task in tasks if task not in listeners]
        await asyncio.gather(*workers)
        for task in listeners:
            task.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)

    def start(self):
        self._thread.start()
        return self

    def alive(self):
        return self._thread.is_alive()

    def stop(self):
        """Lets every burst come to its end."""
        self.stopping = True
        self._thread.join(HANGS_AFTER + 30)
        if self.failure:
            raise self.failure
        if self._thread.is_alive():
            self.ledger.wrong("hang", "applications do not come to an end")
