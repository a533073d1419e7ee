"""The client plane: the same loads through every contender, in turn, many short rounds.

One measurement is one run of `load_client` against one port. Within a round each load goes to all contenders one after
another, and each ratio is taken to the direct run of the same round; a table cell is the median over the rounds.
Proxy CPU per request is (utime + stime of the proxy at the end - at the start of the counted time) / requests counted.
"""

import socket
import statistics
import subprocess
import time

from processes import BenchError, connections_max, memory_kb, online_replicas, wait_for

LOADS = {  # name: (what it is, options of load_client)
    "get": ("GET, 50 clients", {"clients": 50}),
    "set": ("SET, 50 clients", {"clients": 50, "reads": 0}),
    "get-p16": ("GET, 50 clients, pipeline 16", {"clients": 50, "pipeline": 16}),
    "set-p16": ("SET, 50 clients, pipeline 16", {"clients": 50, "pipeline": 16, "reads": 0}),
    "get-1": ("GET, 1 client", {"clients": 1}),
    "get-16k": ("GET of 16 KB, 50 clients", {"clients": 50, "value-bytes": 16384, "keys": 2000}),
    "mix": ("90 % GET, 10 % SET, 50 clients", {"clients": 50, "reads": 90}),
    "mix-p16": ("90 % GET, 10 % SET, 50 clients, pipeline 16", {"clients": 50, "reads": 90, "pipeline": 16}),
}
PEERS = ("haproxy", "nutcracker")
INSTANCES = {  # name: what is not as by default
    "sidestream": "routing.reads=fresh",
    "sidestream-eventual": "routing.reads=eventual",
    "sidestream-2-loops": "threads=2",
}
IDLE_CLIENTS = 10_000


RELAY = "relay alone"


class Contender:
    """Where a load is sent, and whose CPU it costs. `servers` are the stock processes behind."""

    def __init__(self, name, port, proxy, servers):
        self.name, self.port, self.proxy, self.servers = name, port, proxy, servers
        self.relays_only = name == RELAY

    def takes(self, load):
        """What an instance spends on passing the stream on is measured where there is one."""
        return not self.relays_only or LOADS[load][1].get("reads") == 0


class ClientBench:
    def __init__(self, lab, tools, options):
        self.lab, self.tools, self.options = lab, tools, options
        self.contenders = []
        self.failures = []

    def set_up(self):
        """Direct and the peers share one trio; each instance commands a trio of its own, as it does in production."""
        ports, servers = self.trio_with_data("stock")
        self.contenders.append(Contender("direct", ports[0], None, servers))
        if "haproxy" in self.options.contenders:
            self.contenders.append(Contender("haproxy", *self.lab.haproxy(ports[0]), servers))
        if "nutcracker" in self.options.contenders:
            self.contenders.append(Contender("nutcracker", *self.lab.nutcracker(ports[0]), servers))
        if "sidestream" not in self.options.contenders:
            return
        for name, setting in INSTANCES.items():
            ports, servers = self.trio_with_data(name)
            nodes = [word for port in ports for word in ("--node", f"127.0.0.1:{port}")]
            port, process = self.lab.sidestream(name, *nodes, "--set", setting)
            wait_for(f"both replicas behind {name}", lambda port=port: online_replicas(port) == 2, process)
            self.contenders.append(Contender(name, port, process, servers))
            if name == "sidestream":
                self.contenders.append(Contender(RELAY, ports[0], process, servers))

    def trio_with_data(self, label):
        ports, servers = self.lab.trio(label)
        for sizes in ({}, {"value-bytes": 16384, "keys": 2000}):
            self.tools.run("load_client", port=ports[0], fill=True, **sizes)
        return ports, servers

    def run(self):
        self.set_up()
        # First, as long as no load has left memory behind that the clients would be given.
        idle = self.measure_idle() if self.options.idle_clients else None
        cells = {load: {} for load in self.options.loads}
        for round_number in range(self.options.rounds):
            for load in self.options.loads:
                self.options.say(f"round {round_number + 1}/{self.options.rounds}: {LOADS[load][0]}")
                samples = cells[load]
                samples.setdefault("floor", []).append(self.attempt("floor", load, self.measure_floor, load))
                taking = [contender for contender in self.contenders if contender.takes(load)]
                for contender in taking if round_number % 2 == 0 else taking[::-1]:
                    samples.setdefault(contender.name, []).append(
                        self.attempt(contender.name, load, self.measure, contender, load))
        result = {"loads": {load: summarise(samples) for load, samples in cells.items()}}
        if idle:
            result["idle"] = idle
        result["failures"] = self.failures
        return result

    def attempt(self, name, load, measurement, *arguments):
        """A measurement that fails is missing in its round and told in the end; the others go on."""
        try:
            return measurement(*arguments)
        except (BenchError, OSError, subprocess.TimeoutExpired) as error:
            self.failures.append(f"{name}, {load}: {error}")
            self.options.say(f"FAILED: {self.failures[-1]}")
            return None

    def measure(self, contender, load):
        watched = ([contender.proxy] if contender.proxy else []) + contender.servers
        sample = self.tools.run("load_client", port=contender.port, seconds=self.options.seconds,
                                watch=",".join(str(p.pid) for p in watched), **LOADS[load][1])
        if sample["errors"] or sample["misses"]:
            raise BenchError(f"{sample['errors']} wrong replies, {sample['misses']} misses")
        return in_units(sample, has_proxy=contender.proxy is not None)

    def measure_floor(self, load):
        options = LOADS[load][1]
        reply_bytes = 0 if options.get("reads") == 0 else options.get("value-bytes", 64)
        first = len(self.lab.processes)
        port, process = self.tools.null_responder(self.lab, reply_bytes)
        sample = self.tools.run("load_client", port=port, seconds=self.options.seconds, watch=process.pid,
                                unchecked=True, **options)
        self.lab.stop(first)
        return in_units(sample, has_proxy=True)

    def measure_idle(self):
        """Resident memory per idle client, the sockets' kernel memory not included."""
        count = min(self.options.idle_clients, connections_max() - 100)
        result = {"clients": count}
        for contender in self.contenders:
            if contender.proxy is None or contender.relays_only:
                continue
            before = memory_kb(contender.proxy.pid)
            clients = []
            try:
                for _ in range(count):
                    clients.append(socket.create_connection(("127.0.0.1", contender.port), timeout=10))
                for client in clients:
                    client.sendall(b"*1\r\n$4\r\nPING\r\n")  # nutcracker knows no inline commands
                answered = sum(client.recv(16).startswith(b"+PONG") for client in clients)
                time.sleep(0.5)
                result[contender.name] = {"answered": answered,
                                          "kb_per_client": (memory_kb(contender.proxy.pid) - before) / count}
            except OSError as error:
                result[contender.name] = {"refused": f"at client {len(clients)}: {error}"}
            finally:
                for client in clients:
                    client.close()
            time.sleep(0.5)
        return result


def in_units(sample, has_proxy):
    requests = max(1, sample["requests"])
    microseconds = [1e6 * seconds / requests for seconds in sample["cpu_s"]]
    return {
        "rps": sample["requests"] / sample["seconds"],
        "proxy_us": microseconds[0] if has_proxy else 0.0,
        "servers_us": sum(microseconds[1:] if has_proxy else microseconds),
        "client_us": 1e6 * sample["own_cpu_s"][0] / requests,
        "p50_us": sample["p50_us"], "p99_us": sample["p99_us"], "p999_us": sample["p999_us"],
    }


def summarise(samples):
    """Medians per contender; ratios to direct and to the floor are taken within each round."""
    def per_round(name, field, other, other_field):
        return [a[field] / b[other_field] for a, b in zip(samples[name], samples.get(other, ()))
                if a and b and b[other_field] > 0]

    summary = {}
    for name, rounds in samples.items():
        measured = [sample for sample in rounds if sample]
        if not measured:
            continue
        cell = {field: statistics.median(sample[field] for sample in measured) for field in measured[0]}
        ratios = per_round(name, "rps", "direct", "rps") if name != RELAY else []  # it is a direct connection
        cell["rps_of_direct"] = median_or_none(ratios)
        cell["rps_of_direct_range"] = [min(ratios), max(ratios)] if ratios else None
        if name not in ("direct", "floor", RELAY):
            cell["cpu_of_floor"] = median_or_none(per_round(name, "proxy_us", "floor", "proxy_us"))
        if name == "sidestream":
            cell["rps_of_eventual"] = median_or_none(per_round(name, "rps", "sidestream-eventual", "rps"))
        cell["rounds"] = rounds
        summary[name] = cell
    peers = [summary[name] for name in PEERS if name in summary]
    for name, cell in summary.items():
        if name.startswith("sidestream") and peers:
            cell["cpu_of_best_peer"] = cell["proxy_us"] / min(peer["proxy_us"] for peer in peers)
            cell["p99_of_best_peer"] = cell["p99_us"] / min(peer["p99_us"] for peer in peers)
    return summary


def median_or_none(values):
    return statistics.median(values) if values else None
