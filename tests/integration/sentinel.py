"""Stock Sentinels, and the group they watch: three instances with one stock node each, the second and third following
the first.

Happy path: `trio = Trio(lab)`, `trio.watch(3)`, `trio.sentinels[0].master()` is the address that clients are told.
Failure modes: those of the harness; what Sentinels said is in their logs, which a failed test prints.

Sentinel's own periods are for data centres: `SENTINEL DEBUG` makes them a fifth, so that a failover takes a second.
"""

from harness import HOST, Process, server_binaries, wait_for

NAME = "mymaster"
QUICK = {"info-period": 500, "ping-period": 200, "ask-period": 200, "publish-period": 400,
         "min-link-reconnect-period": 200, "election-timeout": 2000}


class Sentinel(Process):
    """A real Sentinel. `options`: what is said about the primary, `sentinel` and the name left out; other lines of its
    configuration begin with `=`. `password`: its own."""

    def __init__(self, lab, name, primary, quorum, options, quick=True, password=None):
        super().__init__(lab, name)
        self.password = password
        self.primary, self.quorum, self.options, self.quick = primary, quorum, options, quick

    def command(self):
        path = self.dir / "sentinel.conf"
        if not path.exists():  # it rewrites its file itself
            host, port = self.primary
            lines = [f"port {self.port}", f"dir {self.dir}", f"logfile {self.log}", "protected-mode no"]
            lines += [line[1:] for line in self.options if line[0] == "="]
            lines.append(f"sentinel monitor {NAME} {host} {port} {self.quorum}")
            for line in self.options:
                if line[0] != "=":
                    key, value = line.split(" ", 1)
                    lines.append(f"sentinel {key} {NAME} {value}")
            path.write_text("\n".join(lines) + "\n")
        return [server_binaries()[0], str(path), "--sentinel"]

    def wait_up(self, timeout=10):
        super().wait_up(timeout)
        if self.quick:
            self("SENTINEL", "DEBUG", *(word for pair in QUICK.items() for word in pair))
        return self

    def ask(self, *words):
        return self("SENTINEL", *words)

    def master(self):
        """(host, port) that clients are told."""
        host, port = self.ask("GET-MASTER-ADDR-BY-NAME", NAME)
        return host.decode(), int(port)

    def fields(self):
        return as_dict(self.ask("MASTER", NAME))

    def replicas(self):
        """port: what Sentinel knows about it."""
        return {int(each["port"]): each for each in map(as_dict, self.ask("REPLICAS", NAME))}

    def events(self, name):
        """Lines of its log about this event (`+sdown`, `+switch-master` ...)."""
        return [line for line in self.log_text().splitlines() if f" {name} " in line]


def as_dict(flat):
    words = [word.decode() for word in flat]
    return dict(zip(words[::2], words[1::2]))


NAMES = ("=sentinel resolve-hostnames yes", "=sentinel announce-hostnames yes")
QUICKLY = ("down-after-milliseconds 1000", "failover-timeout 6000", "parallel-syncs 2")


def order_failover(sentinels, old_port, timeout=40):
    """SENTINEL FAILOVER until all name another primary, whose port is returned. One that a busy machine made Sentinel
    give up is ordered again."""
    def moved():
        ports = {sentinel.master()[1] for sentinel in sentinels}
        if old_port not in ports and len(ports) == 1:
            return ports.pop()
        if sentinels[0].master()[1] == old_port and "failover" not in sentinels[0].fields()["flags"]:
            sentinels[0].ask("FAILOVER", NAME)
        return None
    return wait_for(moved, timeout, "all Sentinels to name another primary")


def start_sentinels(lab, count, primary, quorum=None, options=QUICKLY, placed=None, **more):
    """`primary`: (host, port). `placed(sentinel, number)` puts each where it is to run."""
    started = []
    for _ in range(count):
        name = f"sentinel{sum(p.name.startswith('sentinel') for p in lab.processes)}"
        sentinel = Sentinel(lab, name, primary, quorum or count // 2 + 1, list(options), **more)
        lab.processes.append(sentinel)
        if placed:
            placed(sentinel, len(started))
        started.append(sentinel.start())
    return [sentinel.wait_up() for sentinel in started]


class Group:
    """Instances, each in front of one stock node, and the Sentinels that watch them. The first is the primary."""

    def __init__(self, lab, nodes=(), instances=(), sentinels=()):
        self.lab, self.nodes, self.instances, self.sentinels = lab, list(nodes), list(instances), list(sentinels)

    def watch(self, count=3, **options):
        """Sentinels, until they know the group and each other."""
        options.setdefault("primary", (self.instances[0].host, self.instances[0].announced_port))
        if not self.sentinels:
            self.sentinels = start_sentinels(self.lab, count, **options)
        for sentinel in self.sentinels:
            wait_for(lambda s=sentinel: self._is_known_to(s, count), 10, f"{sentinel.name} to know the group")
        return self

    def _is_known_to(self, sentinel, count):
        fields = sentinel.fields()
        known = sentinel.replicas()
        return (int(fields["num-other-sentinels"]) == count - 1 and len(known) == len(self.instances) - 1
                and all(each["master-link-status"] == "ok" for each in known.values()))

    def switched(self, timeout=30, sentinels=None):
        """The instance that all Sentinels name, when it is no longer the first one."""
        def agreed():
            named = {sentinel.master()[1] for sentinel in sentinels or self.sentinels}
            return len(named) == 1 and named.pop()
        port = wait_for(lambda: agreed() not in (False, self.instances[0].announced_port) and agreed(), timeout,
                        "all Sentinels to name another primary")
        return next(instance for instance in self.instances if instance.announced_port == port)

    def settled(self, primary, timeout=30, replicas=None):
        """Every other instance follows `primary`, and its link is up."""
        for instance in replicas or self.instances:
            if instance is not primary:
                wait_for(lambda i=instance: follows(i, primary), timeout, f"{instance.name} to follow {primary.name}")
        return primary


class Trio(Group):
    """Three of them on loopback."""

    def __init__(self, lab, per_instance=({}, {}, {}), node_options=None, asks=0, **config):
        """`asks`: so many Sentinels are started first, and each instance asks them."""
        super().__init__(lab, lab.servers(3, repl_ping_replica_period=1, repl_timeout=10, **(node_options or {})))
        for index, node in enumerate(self.nodes):
            upstream = self.instances[0] if index else None
            instance = lab.instance([node], replicaof=upstream, start=False, **config, **per_instance[index])
            self.instances.append(instance)
            if asks and not self.sentinels:
                self.sentinels = start_sentinels(lab, asks, (HOST, instance.port))
            if asks:
                instance.config["sentinel"] = {"master-name": NAME, "addresses": [s.address for s in self.sentinels]}
            instance.start().wait_up().wait_online()
        for instance in self.instances[1:]:
            instance.wait_link()


def follows(instance, primary):
    info = instance.info()
    seen = info["role"], info.get("master_port"), info.get("master_link_status")
    return seen == ("slave", str(primary.announced_port), "up")
