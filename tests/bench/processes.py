"""The processes that are measured: start, wait until useful, read their counters, stop.

Everything listens on 127.0.0.1 at ports the kernel chose and keeps its files in one temporary directory.
A process that does not become useful ends the benchmark with its own last words.
"""

import pathlib
import resource
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

PATIENCE_S = 30


class BenchError(Exception):
    """The benchmark cannot go on; the text says why."""


def connections_max():
    """Clients that a proxy with one server connection for each can have under our limit of open files."""
    return min(20_000, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, predicate, process=None, patience_s=PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if process and process.poll() is not None:
            raise BenchError(f"{process.label} ended with {process.returncode}:\n{process.last_words()}")
        try:
            if predicate():
                return
        except (OSError, urllib.error.URLError, BenchError):
            pass  # not up yet
        time.sleep(0.05)
    last_words = process.last_words() if process else ""
    raise BenchError(f"{what}: not within {patience_s} s\n{last_words}")


class Process(subprocess.Popen):
    """A child with a name and a log file."""

    def __init__(self, label, arguments, directory):
        self.label = label
        self.log = pathlib.Path(directory) / f"{label}.log"
        with open(self.log, "ab") as log:
            super().__init__([str(a) for a in arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def last_words(self):
        return "".join(f"    {line}\n" for line in self.log.read_text(errors="replace").splitlines()[-10:])

    def stop(self):
        if self.poll() is None:
            self.terminate()
            try:
                self.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
                self.wait()


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def memory_kb(pid, field="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise BenchError(f"no {field} for process {pid}")


def command(port, *words):
    """One command, one reply: a string, or an error raised. Enough for INFO, PING and CONFIG."""
    request = f"*{len(words)}\r\n" + "".join(f"${len(str(w))}\r\n{w}\r\n" for w in words)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request.encode())
        reader = connection.makefile("rb")
        line = reader.readline().decode()
        if line.startswith("-") or not line:
            raise BenchError(f"{' '.join(map(str, words))}: {line.strip() or 'closed'}")
        return reader.read(int(line[1:])).decode() if line.startswith("$") else line[1:].strip()


def info(port, section="replication"):
    pairs = (line.split(":", 1) for line in command(port, "INFO", section).splitlines() if ":" in line)
    return {key: value for key, value in pairs}


def online_replicas(port):
    facts = info(port)
    return sum("state=online" in facts.get(f"slave{i}", "") for i in range(int(facts.get("connected_slaves", 0))))


class Lab:
    """Owns the temporary directory and every process; `stop` ends them in reverse order."""

    def __init__(self, directory, sidestream_binary):
        self.directory = pathlib.Path(directory)
        self.sidestream_binary = sidestream_binary
        self.under = []  # a program that instances are run by, valgrind for example
        self.patience_s = PATIENCE_S
        self.processes = []

    def start(self, label, arguments):
        process = Process(f"{len(self.processes):02}-{label}", arguments, self.directory)
        self.processes.append(process)
        return process

    def stop(self, first=0):
        for process in reversed(self.processes[first:]):
            process.stop()
        del self.processes[first:]

    def obituary(self, first=0):
        """What the processes said that ended although nobody stopped them, and what the instances said last."""
        telling = [p for p in self.processes[first:] if p.poll() is not None or "sidestream" in p.label]
        return "".join(f"{p.label} ({p.poll() or 'running'}):\n{p.last_words()}" for p in telling)

    def redis(self, label, *options):
        """A stock server without persistence. Returns (port, process)."""
        port = free_port()
        directory = self.directory / f"redis-{port}"
        directory.mkdir()
        process = self.start(label, [
            "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", directory, "--save", "",
            "--maxclients", 20000, "--rdbcompression", "no", "--repl-diskless-sync-delay", 0,
            "--repl-backlog-size", "64mb", "--client-output-buffer-limit", "replica 0 0 0", *options])
        wait_for(label, lambda: command(port, "PING"), process)
        return port, process

    def trio(self, label):
        """A primary and two stock replicas. Returns ([ports], [processes]), the primary first."""
        primary, primary_process = self.redis(f"{label}-primary")
        nodes = [(primary, primary_process)]
        for i in (1, 2):
            nodes.append(self.redis(f"{label}-replica{i}", "--replicaof", f"127.0.0.1 {primary}"))
        wait_for(f"replicas of {label}", lambda: online_replicas(primary) == 2)
        return [port for port, _ in nodes], [process for _, process in nodes]

    def haproxy(self, primary, ready=True, pem=None):
        """A TCP relay, seen to work unless `ready` is False. `pem`: certificate and key; clients speak TLS then."""
        port = free_port()
        config = self.directory / f"haproxy-{port}.cfg"
        config.write_text(f"""global
    nbthread 1
    maxconn {connections_max()}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen redis
    bind 127.0.0.1:{port}{f" ssl crt {pem}" if pem else ""}
    server primary 127.0.0.1:{primary}
""")
        process = self.start("haproxy", ["haproxy", "-db", "-f", config])
        if ready:
            wait_for("haproxy", lambda: is_listening(port) if pem else command(port, "PING"), process)
        return port, process

    def nutcracker(self, primary):
        port = free_port()
        config = self.directory / "nutcracker.yml"
        config.write_text(f"""bench:
  listen: 127.0.0.1:{port}
  redis: true
  distribution: modula
  auto_eject_hosts: false
  servers:
   - 127.0.0.1:{primary}:1
""")
        process = self.start("nutcracker", ["nutcracker", "-c", config, "-a", "127.0.0.1", "-s", free_port()])
        wait_for("nutcracker", lambda: command(port, "PING"), process)
        return port, process

    def sidestream(self, label, *options, ready=True):
        """An instance, ready as far as /readyz tells, or just listening. Returns (port, process)."""
        port, admin = free_port(), free_port()
        process = self.start(label, [
            *self.under, self.sidestream_binary, "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}",
            "--dir", self.directory / f"{label}-{port}", "--set", "limits.maxclients=20000", *options])
        wait_for(f"{label} listening", lambda: is_listening(port), process, self.patience_s)
        if ready:
            url = f"http://127.0.0.1:{admin}/readyz"
            wait_for(f"{label} ready", lambda: urllib.request.urlopen(url, timeout=5).status == 200, process,
                     self.patience_s)
        return port, process


def missing_programs(names):
    return [name for name in names if shutil.which(name) is None]
