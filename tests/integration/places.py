"""Three pods, a sidecar and its node in each, that can be cut off from each other without a word: no reset, no close.

Happy path: `places = PLACES[kind](lab)`, `group = places.group(**config)` has three real Sentinels;
`places.isolate()` cuts off the first pod, `places.heal()` connects it again. Whoever stands in a pod reaches what is in
there, always: `with process.reach(): ...`.
  Namespaces  each pod is a network namespace behind a bridge, with a Sentinel in each; its cable is pulled. Takes root
              and a namespace of one's own: `unshare --net --mount --pid --fork --mount-proc`.
  Proxies     all on loopback; every way into the first pod, and from there to the Sentinels, leads through a fault
              proxy. The Sentinels stand on the other side.
Failure modes: those of the harness and of `ip`.
"""

import contextlib
import ctypes
import functools
import os
import subprocess

from fault_proxy import FaultProxy
from harness import HOST, free_port
from sentinel import NAME, Group, start_sentinels

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def network_of(name):
    """This thread is in that namespace meanwhile; a socket stays where it was made."""
    with open(f"/proc/{os.getpid()}/task/{_libc.gettid()}/ns/net") as home, open(f"/run/netns/{name}") as there:
        assert _libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert _libc.setns(home.fileno(), CLONE_NEWNET) == 0


class Namespaces:
    SERVICE, SENTINEL = 6377, 26379

    def __init__(self, lab):
        self.lab = lab
        subprocess.run(["sh", "-euc", "mount --make-rprivate /; mkdir -p /run/netns; mount -t tmpfs none /run/netns"],
                       check=True)
        ip("link", "set", "lo", "up")
        ip("link", "add", "pods", "type", "bridge")
        ip("link", "set", "pods", "up")
        ip("addr", "add", "10.78.0.1/24", "dev", "pods")
        for number in range(3):
            pod = f"pod{number}"
            ip("netns", "add", pod)
            ip("link", "add", f"to-{pod}", "type", "veth", "peer", "name", "eth0", "netns", pod)
            ip("link", "set", f"to-{pod}", "master", "pods", "up")
            ip("-n", pod, "link", "set", "lo", "up")
            ip("-n", pod, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
            ip("-n", pod, "link", "set", "eth0", "up")

    def address(self, number):
        return f"10.78.0.{10 + number}"

    def put(self, process, number, host):
        process.host, process.prefix = host, ["ip", "netns", "exec", f"pod{number}"]
        process.reach = functools.partial(network_of, f"pod{number}")
        return process

    def group(self, **config):
        watched = [f"{self.address(number)}:{self.SENTINEL}" for number in range(3)]
        group = Group(self.lab)
        for number in range(3):
            node = self.lab.server(start=False, port=6379, repl_ping_replica_period=1, repl_timeout=10)
            group.nodes.append(self.put(node, number, HOST).start().wait_up())
            upstream = group.instances[0].address if number else None
            instance = self.lab.instance([node], start=False, replicaof=upstream,
                                         listen=[f"{host}:{6380 + number}" for host in (self.address(number), HOST)],
                                         service_listen=f"{self.address(number)}:{self.SERVICE}",
                                         protected_mode="no",  # each place is another machine to the others
                                         sentinel={"master-name": NAME, "addresses": watched}, **config)
            group.instances.append(self.put(instance, number, self.address(number)))
            if not number:
                group.sentinels = start_sentinels(self.lab, 3, (instance.host, instance.port), placed=self.put_sentinel)
            instance.start().wait_up().wait_online()
        for instance in group.instances[1:]:
            instance.wait_link()
        self.services = [self.SERVICE] * 3
        self.others = group.sentinels[1:]
        return group.watch(3)

    def put_sentinel(self, sentinel, number):
        sentinel.port = self.SENTINEL
        return self.put(sentinel, number, self.address(number))

    def isolate(self):
        ip("link", "set", "to-pod0", "down")

    def heal(self):
        ip("link", "set", "to-pod0", "up")


class Proxies:
    """`gate`: the fault proxy in front of the first."""

    def __init__(self, lab):
        self.lab, self.services = lab, []

    def group(self, **config):
        group = Group(self.lab, self.lab.servers(3, repl_ping_replica_period=1, repl_timeout=10))
        first = self.instance(group.nodes[0], **config)
        self.gate = self.lab.closing(FaultProxy(first.port))
        first.config["announce-port"] = self.gate.port
        group.instances.append(first)
        group.sentinels = self.others = start_sentinels(self.lab, 3, (HOST, self.gate.port))
        self.ways = [self.gate] + [self.lab.closing(FaultProxy(sentinel.port)) for sentinel in group.sentinels]
        self.start(first, [way.port for way in self.ways[1:]])
        for node in group.nodes[1:]:
            group.instances.append(self.instance(node, replicaof=f"{HOST}:{self.gate.port}", **config))
            self.start(group.instances[-1], [sentinel.port for sentinel in group.sentinels])
        for instance in group.instances[1:]:
            instance.wait_link()
        return group.watch(3)

    def instance(self, node, **config):
        self.services.append(free_port())
        return self.lab.instance([node], start=False, service_listen=f"{HOST}:{self.services[-1]}", **config)

    def start(self, instance, ports):
        instance.config["sentinel"] = {"master-name": NAME, "addresses": [f"{HOST}:{port}" for port in ports]}
        instance.start().wait_up().wait_online()

    def isolate(self):
        for way in self.ways:
            way.stall()

    def heal(self):
        for way in self.ways:
            way.resume()


PLACES = {"namespaces": Namespaces, "proxies": Proxies}
