"""The replication plane: what one hop adds, for no hop (direct), a stock chained replica, and an instance.

Latency: a probe written on the primary until its bytes come out of the end's stream; one process, one clock.
Throughput: a synthetic primary streams as fast as all sinks sustain, also through HAProxy as a plain TCP relay.
Full sync: replicas attach and take the snapshot.
"""

import statistics
import subprocess

from processes import BenchError, command, free_port, info, memory_kb, online_replicas, wait_for

RATES = (1000, 20_000)
SINKS = (1, 8)
FULL_SYNCS = (1, 4)


class Path:
    """A primary and the port where its stream comes out; `hop` is the process between, None for direct."""

    def __init__(self, name, primary, end, hop):
        self.name, self.primary, self.end, self.hop = name, primary, end, hop


class ReplicationBench:
    def __init__(self, lab, tools, options):
        self.lab, self.tools, self.options = lab, tools, options
        self.failures = []
        self.names = ["direct", "chain"] + (["sidestream"] if "sidestream" in options.contenders else [])

    def run(self):
        parts = {"latency": self.run_latency, "full_sync": self.run_full_sync, "throughput": self.run_throughput}
        result = {name: self.attempt(name, part) or {} for name, part in parts.items()}
        return result | {"failures": self.failures}

    def attempt(self, what, measurement, *arguments):
        """A measurement that fails is missing and told in the end; its processes are stopped, the others go on."""
        first = len(self.lab.processes)
        try:
            return measurement(*arguments)
        except (BenchError, OSError, subprocess.TimeoutExpired) as error:
            self.failures.append(f"{what}: {error}\n{self.lab.obituary(first)}")
            self.options.say(f"FAILED: {self.failures[-1]}")
            self.lab.stop(first)
            return None

    def path(self, name):
        """Every path gets a primary of its own, so that no one pays for another's replicas."""
        primary, _ = self.lab.redis(f"{name}-primary")
        if name == "direct":
            return Path(name, primary, primary, None)
        if name == "chain":
            end, hop = self.lab.redis("chained-replica", "--replicaof", f"127.0.0.1 {primary}")
        else:
            end, hop = self.lab.sidestream("sidestream", "--node", f"127.0.0.1:{primary}")
        wait_for(f"{name} attached", lambda: online_replicas(primary) == 1, hop)
        return Path(name, primary, end, hop)

    def run_latency(self):
        first = len(self.lab.processes)
        paths = [self.path(name) for name in self.names]
        samples = {rate: {path.name: [] for path in paths} for rate in RATES}
        for round_number in range(self.options.rounds):
            for rate in RATES:
                self.options.say(f"round {round_number + 1}/{self.options.rounds}: latency at {rate} writes/s")
                for path in paths if round_number % 2 == 0 else paths[::-1]:
                    sample = self.attempt(f"latency, {path.name}", self.measure_latency, path, rate)
                    samples[rate][path.name].append(sample)
        self.lab.stop(first)
        return {str(rate): latency_summary(by_path) for rate, by_path in samples.items()}

    def measure_latency(self, path, rate):
        watch = {"watch": path.hop.pid} if path.hop else {}
        sample = self.tools.run("stream_load", "latency", primary=path.primary, end=path.end, rate=rate,
                                seconds=self.options.seconds, **watch)
        sample["cpu_us_per_write"] = 1e6 * sum(sample["cpu_s"]) / sample["probes"]
        return sample

    def run_throughput(self):
        result = {}
        names = self.names + (["haproxy"] if "haproxy" in self.options.contenders else [])
        for sinks in SINKS:
            samples = {name: [] for name in names}
            for round_number in range(self.options.rounds):
                self.options.say(f"round {round_number + 1}/{self.options.rounds}: stream to {sinks} replicas")
                for name in names if round_number % 2 == 0 else names[::-1]:
                    sample = self.attempt(f"throughput, {name}, {sinks}", self.measure_throughput, name, sinks)
                    samples[name].append(sample)
            result[str(sinks)] = all_medians(samples)
        return result

    def measure_throughput(self, name, sinks):
        first = len(self.lab.processes)
        source = free_port()
        hop, end = None, source
        if name == "chain":
            end, hop = self.lab.redis("chained-replica")
        elif name == "haproxy":  # carries the bytes and knows nothing: as many upstream links as replicas
            end, hop = self.lab.haproxy(source, ready=False)
        elif name == "sidestream":
            end, hop = self.lab.sidestream("sidestream", "--replicaof", f"127.0.0.1:{source}", ready=False)
        base_kb = memory_kb(hop.pid) if hop else 0
        watch = {"watch": hop.pid} if hop else {}
        with self.tools.open("stream_load", "throughput", source=source, end=end, sinks=sinks,
                             mb=self.options.stream_mb, verify=self.options.quick, **watch) as load:
            if name == "chain":
                command(end, "REPLICAOF", "127.0.0.1", source)
            sample = load.result()
            sample["hop_kb"] = memory_kb(hop.pid) if hop else 0
            sample["hop_base_kb"] = base_kb
        sample["cpu_s_per_gb"] = sum(sample["cpu_s"]) / (sample["bytes"] / 1e9)
        self.lab.stop(first)
        return sample

    def run_full_sync(self):
        """First one replica, then several at once, none of them alone with the primary; forks over both together."""
        cells = {}
        for name in self.names:
            self.options.say(f"full sync of {self.options.dataset_mb} MB: {name}")
            cells[name] = self.attempt(f"full sync, {name}", self.measure_full_sync, name)
        return {name: cell for name, cell in cells.items() if cell}

    def measure_full_sync(self, name):
        first = len(self.lab.processes)
        path = self.path(name)
        keys = self.options.dataset_mb * 1000
        self.tools.run("load_client", port=path.primary, fill=True, keys=keys, **{"value-bytes": 1000})
        if path.hop:
            offset = int(info(path.primary)["master_repl_offset"])
            wait_for(f"{name} caught up", lambda: int(info(path.end)["master_repl_offset"]) >= offset, path.hop)
        forks = int(info(path.primary, "stats")["total_forks"])
        cell = {}
        for sinks in FULL_SYNCS:
            watch = {"watch": path.hop.pid} if path.hop else {}
            sample = self.tools.run("stream_load", "fullsync", end=path.end, sinks=sinks, **watch)
            if sample["snapshot_bytes"] < self.options.dataset_mb * 1_000_000:
                raise BenchError(f"{name}: a snapshot of {sample['snapshot_bytes']} bytes is not the dataset")
            cell[str(sinks)] = sample
        cell["forks_on_primary"] = int(info(path.primary, "stats")["total_forks"]) - forks
        cell["hop_peak_kb"] = memory_kb(path.hop.pid, "VmHWM") if path.hop else 0
        self.lab.stop(first)
        return cell


def medians(rounds):
    measured = [sample for sample in rounds if sample]
    numbers = sorted(key for key, value in measured[0].items() if type(value) in (int, float))
    return {key: statistics.median(sample[key] for sample in measured) for key in numbers} | {"rounds": rounds}


def all_medians(samples):
    return {name: medians(rounds) for name, rounds in samples.items() if any(rounds)}


def latency_summary(by_path):
    summary = all_medians(by_path)
    for name, cell in summary.items():
        if name != "direct" and "direct" in summary:
            for field in ("mean_us", "p50_us", "p99_us", "p999_us"):
                cell["added_" + field] = cell[field] - summary["direct"][field]
    return summary
