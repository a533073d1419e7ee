"""What TLS towards the clients costs: the server's own, HAProxy's and ours, each beside the same without TLS.

All speak TLS 1.3 with the same certificate (P-256) over connections that stay; proxies speak plain to the server.
Medians over the rounds, as in client_bench.py, whose measurements these are.
"""

import subprocess

from client_bench import LOADS, ClientBench, Contender, in_units, summarise
from processes import BenchError, command, free_port, is_listening, online_replicas, wait_for

TLS_LOADS = ("get", "set", "get-p16", "get-16k")


class TlsBench(ClientBench):
    def set_up(self):
        self.make_certificate()
        ports, servers = self.trio_with_data("stock")
        self.contenders.append(Contender("direct", ports[0], None, servers))
        tls_port = free_port()
        command(ports[0], "CONFIG", "SET", "tls-cert-file", self.cert, "tls-key-file", self.key, "tls-ca-cert-file",
                self.cert, "tls-auth-clients", "no", "tls-port", tls_port)
        wait_for("the TLS port of the server", lambda: is_listening(tls_port))
        self.contenders.append(Contender("direct-tls", tls_port, None, servers))
        if "haproxy" in self.options.contenders:
            self.contenders.append(Contender("haproxy", *self.lab.haproxy(ports[0]), servers))
            self.contenders.append(Contender("haproxy-tls", *self.lab.haproxy(ports[0], pem=self.pem), servers))
        if "sidestream" in self.options.contenders:
            self.add_instance("sidestream")
            self.add_instance("sidestream-tls", "--set", f"tls.listen-cert={self.cert}", "--set",
                              f"tls.listen-key={self.key}")

    def add_instance(self, name, *options):
        ports, servers = self.trio_with_data(name)
        nodes = [word for port in ports for word in ("--node", f"tcp://127.0.0.1:{port}")]
        plain = free_port()  # for its replicas
        port, process = self.lab.sidestream(name, *nodes, *options, "--listen", f"tcp://127.0.0.1:{plain}")
        wait_for(f"both replicas behind {name}", lambda: online_replicas(plain) == 2, process)
        self.contenders.append(Contender(name, port, process, servers))

    def make_certificate(self):
        self.cert, self.key = self.lab.directory / "tls.crt", self.lab.directory / "tls.key"
        self.pem = self.lab.directory / "tls.pem"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-days", "2", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.key,
                 "-out", self.cert]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"openssl: {done.stderr}")
        self.pem.write_text(self.cert.read_text() + self.key.read_text())

    def run(self):
        self.set_up()
        cells = {load: {} for load in TLS_LOADS if load in self.options.loads}
        for round_number in range(self.options.rounds):
            for load, samples in cells.items():
                self.options.say(f"TLS, round {round_number + 1}/{self.options.rounds}: {LOADS[load][0]}")
                for contender in self.contenders if round_number % 2 == 0 else self.contenders[::-1]:
                    samples.setdefault(contender.name, []).append(
                        self.attempt(contender.name, load, self.measure, contender, load))
        return {"loads": {load: summarise(samples) for load, samples in cells.items()}, "failures": self.failures}

    def measure(self, contender, load):
        watched = ([contender.proxy] if contender.proxy else []) + contender.servers
        sample = self.tools.run("load_client", port=contender.port, seconds=self.options.seconds,
                                tls=contender.name.endswith("-tls"), watch=",".join(str(p.pid) for p in watched),
                                **LOADS[load][1])
        if sample["errors"] or sample["misses"]:
            raise BenchError(f"{sample['errors']} wrong replies, {sample['misses']} misses")
        return in_units(sample, has_proxy=contender.proxy is not None)
