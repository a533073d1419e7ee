"""Starts stock servers and instances on free loopback ports, waits for conditions, leaves nothing behind.

Happy path: a test takes the `lab` fixture, calls `lab.server()` and `lab.instance([...])`, asks them through
RespClient, and ends; the fixture stops every process and removes every directory.
Failure modes: a process that does not come up or a condition that does not come true raises AssertionError saying
what was awaited and the last value seen; conftest.py then adds the tail of every log to the report. Children die
with the test process, also when that is killed.
"""

import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from resp_client import ReplyError, RespClient

ROOT = Path(__file__).resolve().parents[2]
THREADS = int(os.environ.get("SIDESTREAM_TEST_THREADS") or 0)  # of every instance that does not say; 0: the default
BINARY = Path(os.environ.get("SIDESTREAM_BINARY") or ROOT / "build/proxy/main/sidestream")
HOST = "127.0.0.1"
EMPTY_REPLID = "0" * 40


def server_binaries():
    """redis-server from PATH, then every path in SIDESTREAM_TEST_SERVERS (colon-separated)."""
    found = [shutil.which("redis-server")]
    found += [path for path in os.environ.get("SIDESTREAM_TEST_SERVERS", "").split(":") if path]
    return [path for path in found if path]


def server_version(binary):
    words = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return tuple(int(part) for part in next(w[2:] for w in words if w.startswith("v=")).split(".")[:3])


PATIENCE = 4  # a machine that runs other things as well; what passes does not wait any longer


def wait_for(condition, timeout, what):
    """Polls until condition() is truthy and returns that value. Errors of a peer that is not up yet count as no.
    `timeout`: what is more than enough on a quiet machine, in seconds."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, ReplyError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE} x {timeout} s for {what}; last seen: {last!r}")
        time.sleep(0.02)


def stays(condition, seconds, what):
    """Asserts that condition() holds during the whole time: for things that must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not stay so for {seconds} s: {what}"
        time.sleep(0.05)


# Ports come from below the kernel's ephemeral range, so that no outgoing connection can take one between the
# check and its use. Test processes that run at the same time keep off each other's by a socket with the port's name.
_next_port = random.Random(os.getpid() * 7919 + time.monotonic_ns()).randrange(11000, 31000)
_reserved = {}


def _reserve(port):
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0sidestream-test-port-{port}")
    except OSError:
        mark.close()
        return False
    _reserved[port] = mark
    return True


def release_port(port):
    mark = _reserved.pop(port, None)
    if mark is not None:
        mark.close()


def free_port():
    global _next_port
    for _ in range(20000):
        _next_port = _next_port + 1 if _next_port < 31999 else 11000
        if not _reserve(_next_port):
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, _next_port))
                return _next_port
            except OSError:
                release_port(_next_port)
    raise AssertionError("no free port between 11000 and 32000")


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def parse_info(text):
    """INFO text as an ordered dict of strings."""
    lines = text.decode().split("\r\n") if isinstance(text, bytes) else text.split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


class Process:
    """A child with a port, a directory and a log. Subclasses say what to run. One that runs elsewhere (places.py) has
    another `host`, words in front of its command, and a context in which it can be reached."""

    def __init__(self, lab, name):
        self.lab, self.name, self.port = lab, name, free_port()
        self.host, self.prefix, self.reach = HOST, [], contextlib.nullcontext
        self.dir = lab.dir / name
        self.dir.mkdir()
        self.log = self.dir / "log"
        self.password = None
        self.client_options = {}  # of RespClient: TLS
        self.environment = {}
        self.process = None

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def command(self):
        raise NotImplementedError

    def start(self):
        output = open(self.dir / "output", "ab")
        self.process = subprocess.Popen([*self.prefix, *self.command()], cwd=self.dir, stdout=output, stderr=output,
                                        stdin=subprocess.DEVNULL, env={**os.environ, **self.environment},
                                        preexec_fn=_die_with_parent)
        output.close()
        return self

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def _up(self):
        assert self.alive(), f"{self.name} exited with {self.process.returncode}:\n{self.log_tail()}"
        with self.reach(), socket.create_connection((self.host, self.port), timeout=1):
            return True

    def wait_up(self, timeout=10):
        wait_for(self._up, timeout, f"{self.name} to listen on {self.port}")
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """kill -9, and reaped. One that is paused does not run again."""
        if self.alive():
            self.process.kill()
            self.process.wait(10)

    def terminate(self, timeout=15):
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def client(self, **options):
        options = {"password": self.password, "host": self.host, **self.client_options, **options}
        with self.reach():
            return RespClient(self.port, **options)

    def __call__(self, *args):
        """One command on a connection of its own."""
        with self.client() as client:
            return client(*args)

    def raw(self, *args):
        with self.client() as client:
            return client.raw(*args)

    def info(self, section="replication"):
        return parse_info(self("INFO", section))

    def role(self):
        return self("ROLE")[0].decode()

    def offset(self):
        return int(self.info()["master_repl_offset"])

    def replid(self):
        return self.info()["master_replid"]

    def link_up(self):
        return self.info().get("master_link_status") == "up"

    def wait_link(self, timeout=15):
        wait_for(self.link_up, timeout, f"{self.name}: master_link_status:up")
        return self

    def stat(self, name):
        return int(self.info("stats")[name])

    def log_text(self):
        return "".join(path.read_text(errors="replace") for path in (self.dir / "output", self.log) if path.exists())

    def log_tail(self, lines=60):
        return "\n".join(self.log_text().splitlines()[-lines:])


class Server(Process):
    """A stock server, quiet and quick: no save points, no diskless delay, DEBUG allowed."""

    def __init__(self, lab, name, binary, options):
        super().__init__(lab, name)
        self.binary, self.version = binary, server_version(binary)
        self.options = {"port": self.port, "bind": HOST, "dir": self.dir, "logfile": self.log, "save": "",
                        "protected-mode": "no", "repl-diskless-sync-delay": 0, "slowlog-log-slower-than": -1}
        if self.version >= (7, 0, 0):
            self.options["enable-debug-command"] = "yes"
        self.options.update({key.replace("_", "-"): value for key, value in options.items()})
        self.port = int(self.options["port"])
        self.password = self.options.get("requirepass")

    def command(self):
        words = [self.binary]
        for key, value in self.options.items():
            words += [f"--{key}", *(value if isinstance(value, (list, tuple)) else [str(value)])]
        return [str(word) for word in words]

    def wait_up(self, timeout=10):
        super().wait_up(timeout)
        wait_for(lambda: self.info("persistence")["loading"] == "0", timeout, f"{self.name} to load")
        return self

    def digest(self):
        return self("DEBUG", "DIGEST")

    def save(self):
        """SAVE, after a background save that may be running."""
        wait_for(lambda: self("SAVE") == "OK", 10, f"{self.name} to save")

    def replicaof(self, other):
        """Follows a Process, a port, or nobody (None)."""
        port = getattr(other, "port", other)
        return self("REPLICAOF", *((HOST, port) if port else ("NO", "ONE")))

    def calls(self, *commands):
        """How often these commands ran here (INFO commandstats)."""
        stats = self.info("commandstats")
        counted = [stats.get(f"cmdstat_{command.lower()}", "calls=0") for command in commands]
        return sum(int(line.split(",")[0].split("=")[1]) for line in counted)


def first_of(value):
    return value[0] if isinstance(value, list) else value


class Successor:
    """The process that an instance handed everything to: no child of ours, but used like one."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            state = "gone"
        self.returncode = 0 if state in ("gone", "Z", "X") else None
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout):
        wait_for(lambda: self.poll() is not None, timeout, f"the end of process {self.pid}")
        return self.returncode


class Instance(Process):
    """A sidestream process. `config` is the configuration as a dict; JSON is YAML."""

    def __init__(self, lab, name, config, flags=(), environment=None):
        super().__init__(lab, name)
        self.admin_port = free_port()
        self.flags, self.environment = list(flags), environment or {}
        self.config = {"listen": self.address, "admin": f"{HOST}:{self.admin_port}", "dir": str(self.dir / "data"),
                       "log": {"level": "debug", "file": str(self.log)}}
        if THREADS:
            self.config["threads"] = THREADS
        self.config.update(config)
        self.port = int(first_of(self.config["listen"]).rsplit(":", 1)[1])
        self.password = self.config.get("requirepass")

    def command(self):
        path = self.dir / "sidestream.yaml"
        path.write_text(json.dumps(self.config, indent=2) + "\n")
        return [str(BINARY), "--config", str(path), *self.flags]

    def status(self):
        return json.loads(self("SIDESTREAM", "STATUS"))

    def counters(self):
        return self.status()["counters"]

    @property
    def announced_port(self):
        return self.config.get("announce-port", self.port)

    def succeeded(self):
        """The next process of it has taken over, the former one has ended: with this exit code."""
        code = self.process.wait(60)
        self.process = Successor(wait_for(lambda: self.status()["process"]["pid"], 10, "the next process to answer"))
        return code

    def upstream_state(self):
        return self.status()["upstream"]["state"]

    def nodes_online(self):
        return all(node["state"] == "online" for node in self.status()["nodes"])

    def wait_ready(self, timeout=15):
        wait_for(lambda: self.status()["ready"], timeout, f"{self.name} to be ready")
        return self

    def wait_online(self, timeout=20):
        """Ready, and every node online."""
        self.wait_ready(timeout)
        wait_for(lambda: self.nodes_online() or self.status()["nodes"] is None, timeout,
                 f"{self.name}: all nodes online")
        return self


class Lab:
    """Everything one test starts."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="sidestream-test-"))
        self.processes, self.closers = [], []

    def _name(self, kind, name):
        return name or f"{kind}{sum(p.name.startswith(kind) for p in self.processes)}"

    def server(self, name=None, binary=None, start=True, **options):
        server = Server(self, self._name("server", name), binary or server_binaries()[0], options)
        self.processes.append(server)
        return server.start().wait_up() if start else server

    def servers(self, count, **options):
        started = [self.server(start=False, **options).start() for _ in range(count)]
        return [server.wait_up() for server in started]

    def instance(self, nodes=(), replicaof=None, name=None, start=True, ready=True, flags=(), environment=None,
                 **config):
        """`nodes`: Servers, or dicts with at least `address`. Keyword arguments are configuration keys, _ for -."""
        config = {key.replace("_", "-"): value for key, value in config.items()}
        config["nodes"] = [node if isinstance(node, dict) else {"address": node.address} for node in nodes]
        if replicaof is not None:
            config["replicaof"] = replicaof if isinstance(replicaof, str) else f"{HOST}:{replicaof.port}"
        instance = Instance(self, self._name("instance", name), config, flags, environment)
        self.processes.append(instance)
        if start:
            instance.start().wait_up()
            if ready:
                instance.wait_online()
        return instance

    def closing(self, thing):
        """Calls thing.close() at the end of the test."""
        self.closers.append(thing)
        return thing

    def close(self):
        for thing in reversed(self.closers):
            thing.close()
        if os.environ.get("SIDESTREAM_TEST_COVERAGE"):  # counts are written by a process that ends, not by one killed
            for process in self.processes:
                if isinstance(process, Instance) and process.alive():
                    process.resume()
                    process.signal(signal.SIGTERM)
                    process.signal(signal.SIGTERM)
            for process in self.processes:
                if isinstance(process, Instance) and process.process is not None:
                    process.process.wait(20)
        for process in self.processes:
            process.kill()
            release_port(process.port)
            release_port(getattr(process, "admin_port", None))
        shutil.rmtree(self.dir, ignore_errors=True)


def converged(primary, followers):
    """Truthy when every follower has the primary's data, replid and offset."""
    expected = (primary.digest(), primary.replid(), primary.offset())
    return all((f.digest(), f.replid(), f.offset()) == expected for f in followers)


def wait_converged(primary, followers, timeout=30):
    wait_for(lambda: converged(primary, followers), timeout,
             f"equal digest, replid and offset of {[f.name for f in followers]} and {primary.name}")
