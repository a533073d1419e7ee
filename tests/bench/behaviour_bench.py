"""What no request rate tells: memory against the size of the dataset, pauses of planned switches, and the share of
reads that replicas take while keys are being written.

Memory: resident, of a stock chained replica and of an instance, after their primary was filled. Switches: one client
writes without a break while FAILOVER moves the primary around; its slowest reply each time is the pause. Freshness:
reads and writes of the same uniformly random keys; the instance's own counters say who answered.
"""

import json
import random
import socket
import statistics
import threading
import time

from processes import BenchError, command, info, memory_kb, online_replicas, wait_for

DATASETS_MB = (0, 50, 100, 200)
SWITCHES = 5
WRITE_RATES = (0, 100, 1_000, 5_000, 20_000)
KEYS = 100_000
PIPELINE = 16


class Connection:
    """Pipelines of commands whose replies are one line or one bulk string."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def close(self):
        self.socket.close()

    def ask(self, *commands):
        self.socket.sendall(b"".join(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word)
                                                                         for word in words) for words in commands))
        for words in commands:
            line = self.reader.readline()
            if not line or line.startswith(b"-"):
                raise BenchError(f"{words[0].decode()}: {line.decode().strip() or 'closed'}")
            if line.startswith(b"$") and line != b"$-1\r\n":
                self.reader.read(int(line[1:]) + 2)


class BehaviourBench:
    def __init__(self, lab, tools, options):
        self.lab, self.tools, self.options = lab, tools, options
        self.failures = []

    def run(self):
        result = {}
        for name, part in (("memory", self.memory), ("switch", self.switch), ("freshness", self.freshness)):
            first = len(self.lab.processes)
            try:
                result[name] = part()
            except (BenchError, OSError) as error:  # the others go on
                self.failures.append(f"{name}: {error}\n{self.lab.obituary(first)}")
            self.lab.stop(first)
        return result | {"failures": self.failures}

    def memory(self):
        """{megabytes: {name: resident MB}}"""
        result = {}
        for megabytes in DATASETS_MB[:2] if self.options.quick else DATASETS_MB:
            self.options.say(f"memory, dataset of {megabytes} MB")
            first = len(self.lab.processes)
            port, primary = self.lab.redis("primary")
            if megabytes:
                self.tools.run("load_client", port=port, fill=True, keys=megabytes * 1000, **{"value-bytes": 1000})
            _, chain = self.lab.redis("chain", "--replicaof", f"127.0.0.1 {port}")
            end, sidestream = self.lab.sidestream("sidestream", "--node", f"127.0.0.1:{port}")
            replica, _ = self.lab.redis("end", "--replicaof", f"127.0.0.1 {end}")
            wait_for("replicas", lambda: online_replicas(port) >= 2 and info(replica)["master_link_status"] == "up")
            who = {"primary": primary, "chain": chain, "sidestream": sidestream}
            result[str(megabytes)] = {name: memory_kb(process.pid) / 1024 for name, process in who.items()}
            self.lab.stop(first)
        return result

    def group(self):
        nodes = [self.lab.redis(f"node{i}")[0] for i in range(3)]
        port, _ = self.lab.sidestream("sidestream", *[f"--node=127.0.0.1:{node}" for node in nodes])
        wait_for("nodes", lambda: all(n["state"] == "online" for n in self.status(port)["nodes"]))
        return port

    @staticmethod
    def status(port):
        return json.loads(command(port, "SIDESTREAM", "STATUS"))

    def primary_of(self, port):
        return next((node["address"] for node in self.status(port)["nodes"] if node["role"] == "primary"), None)

    def switch(self):
        """Pauses in ms, and what a reply takes without a switch."""
        port = self.group()
        replies, over = [], threading.Event()

        def write():
            connection, number = Connection(port), 0
            while not over.is_set():
                number, began = number + 1, time.monotonic()
                connection.ask((b"SET", b"key", b"%d" % number))
                replies.append((began, time.monotonic() - began))
            connection.close()
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        time.sleep(1)
        usual = statistics.median(taken for _, taken in replies)
        pauses = []
        for number in range(1 if self.options.quick else SWITCHES):
            self.options.say(f"switch {number + 1}")
            before, began = self.primary_of(port), time.monotonic()
            command(port, "FAILOVER")
            wait_for("the switch", lambda b=before: self.primary_of(port) not in (None, b))
            time.sleep(1)
            pauses.append(1000 * max(taken for start, taken in replies if start + taken >= began))
        over.set()
        writer.join(30)
        return {"pauses_ms": pauses, "usual_ms": 1000 * usual}

    def freshness(self):
        """{writes/s: {"share": of the reads that replicas answered, "reads": how many, "writes_per_s": as it was}}"""
        port, result = self.group(), {}
        for rate in WRITE_RATES[:3] if self.options.quick else WRITE_RATES:
            self.options.say(f"freshness at {rate} writes/s")
            over, written = threading.Event(), [0]
            writer = threading.Thread(target=self.write_at, args=(port, rate, over, written), daemon=True)
            writer.start()
            time.sleep(0.5)
            before, began, first = self.status(port)["counters"], time.monotonic(), written[0]
            reader = Connection(port)
            while time.monotonic() < began + self.options.seconds:
                reader.ask(*[(b"GET", b"key:%d" % random.randrange(KEYS)) for _ in range(PIPELINE)])
            reader.close()
            seconds, after = time.monotonic() - began, self.status(port)["counters"]
            writes = written[0] - first
            over.set()
            writer.join(30)
            on_replicas = after["reads_replica"] - before["reads_replica"]
            reads = on_replicas + after["reads_primary"] - before["reads_primary"]
            result[str(rate)] = {"share": on_replicas / reads, "reads": reads, "writes_per_s": writes / seconds}
        return result

    @staticmethod
    def write_at(port, rate, over, written):
        """`rate` writes a second, as far as one connection goes; counts them in written[0]."""
        connection, began = Connection(port), time.monotonic()
        while not over.wait(0.002):
            due = int((time.monotonic() - began) * rate) - written[0]
            if due > 0:
                due = min(due, 500)
                connection.ask(*[(b"SET", b"key:%d" % random.randrange(KEYS), b"x" * 64) for _ in range(due)])
                written[0] += due
        connection.close()
