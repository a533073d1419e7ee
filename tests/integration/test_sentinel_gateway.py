"""A gateway without nodes of its own, in front of plain servers that Sentinel manages: it follows whom a majority of
the Sentinels names, reads from that one's replicas, and is never taken for one that could be promoted."""

import pytest

from harness import HOST, stays, wait_converged, wait_for
from sentinel import NAME, NAMES, QUICKLY, order_failover, start_sentinels


class Managed:
    """Three plain servers under three Sentinels, and a gateway."""

    def __init__(self, lab, host=HOST, options=QUICKLY, gateway=True, password=None):
        self.lab = lab
        names = {"replica_announce_ip": host} if host != HOST else {}
        self.servers = lab.servers(3, repl_ping_replica_period=1, **names)
        for server in self.servers[1:]:
            server("REPLICAOF", host, self.servers[0].port)
            server.wait_link()
        self.sentinels = start_sentinels(lab, 3, (host, self.servers[0].port), options=options, password=password)
        for sentinel in self.sentinels:
            wait_for(lambda s=sentinel: len(s.replicas()) >= 2 and s.fields()["num-other-sentinels"] == "2", 15,
                     "the Sentinels to know everybody")
        self.config = {"master-name": NAME, "addresses": [sentinel.address for sentinel in self.sentinels]}
        if gateway:
            self.gateway = lab.instance([], sentinel=self.config)

    def primary(self, port):
        return next(server for server in self.servers if server.port == port)

    def switched(self, old):
        def named():
            ports = {sentinel.master()[1] for sentinel in self.sentinels}
            return ports.pop() if len(ports) == 1 and old.port not in ports else None
        return self.primary(wait_for(named, 30, "all Sentinels to name another primary"))


@pytest.fixture
def managed(lab, binary):
    return Managed(lab)


def reads_from(gateway, servers):
    """Truthful only while nobody else reads there."""
    before = {server: server.calls("GET") for server in servers}
    for _ in range(30):
        gateway("GET", "nobody-writes-this")
    return [server for server in servers if server.calls("GET") > before[server]]


def test_it_follows_whom_the_sentinels_name(managed):
    gateway, first = managed.gateway, managed.servers[0]
    assert gateway("SET", "k", "1") == "OK" and first("GET", "k") == b"1"
    wait_for(lambda: len(reads_from(gateway, managed.servers[1:])) == 2, 10, "both replicas to be read")
    info = gateway.info()
    assert (info["role"], info["master_port"], info["slave_priority"]) == ("slave", str(first.port), "0")
    assert [each["names"] for each in gateway.status()["sentinels"]] == [first.address] * 3
    beside = {server.address: "online" for server in managed.servers[1:]} | {gateway.address: "instance"}
    wait_for(lambda: {each["address"]: each["state"] for each in gateway.status()["peers"]} == beside, 10, "all peers")
    assert f"names={first.address}" in gateway.info("sidestream")["sentinel0"]
    with gateway.client(timeout=30) as client:
        first.kill()
        new = managed.switched(first)
        assert wait_for(lambda: client("SET", "k", "2"), 20, "the first write") == "OK", "the connection lives on"
        assert new("GET", "k") == b"2" and client("GET", "k") == b"2"
    wait_for(lambda: gateway.info()["master_port"] == str(new.port) and gateway.link_up(), 10, "the stream of the new")
    first.start().wait_up()
    wait_for(lambda: first.info().get("master_port") == str(new.port) and first.link_up(), 30, "the old one to return")
    others = [server for server in managed.servers if server is not new]
    wait_for(lambda: len(reads_from(gateway, others)) == 2, 15, "the pool to be whole again")
    wait_converged(new, others)
    with gateway.client() as application, gateway.client() as sentinel:
        commands = [("MULTI",), ("SLAVEOF", HOST, new.port), ("CLIENT", "KILL", "TYPE", "normal"), ("EXEC",)]
        assert sentinel.pipeline(commands)[-1] == ["OK Already connected to specified master", 0]
        assert application("GET", "k") == b"2", "the role of a gateway never changes: it is no news to its clients"


def test_a_planned_failover_by_sentinel(managed):
    gateway, first = managed.gateway, managed.servers[0]
    for number in range(2):
        old = managed.primary(managed.sentinels[0].master()[1])
        assert wait_for(lambda n=number: gateway("SET", "k", n), 10, "a write") == "OK"
        new = managed.primary(order_failover(managed.sentinels, old.port))
        assert wait_for(lambda: gateway("SET", "after", number), 10, "a write") == "OK"
        assert new("GET", "after") == b"%d" % number
        wait_for(lambda: old.info().get("master_port") == str(new.port) and old.link_up(), 30, "the old one to follow")
    assert first.alive()


def test_a_minority_decides_nothing(managed):
    """Two of three are gone: what was known goes on, and one lone Sentinel cannot move us."""
    gateway, first = managed.gateway, managed.servers[0]
    for sentinel in managed.sentinels[1:]:
        sentinel.kill()
    lone = managed.sentinels[0]
    lone("SENTINEL", "REMOVE", NAME)
    lone("SENTINEL", "MONITOR", NAME, HOST, managed.servers[1].port, 1)
    wait_for(lambda: "Sentinels must name the same primary" in gateway.status()["trouble"], 15, "it to be told")
    stays(lambda: gateway.info()["master_port"] == str(first.port), 2, "the primary that the majority named")
    assert gateway("SET", "k", "v") == "OK"


def test_without_a_majority_at_the_start_nothing_is_written(lab, binary):
    managed = Managed(lab, gateway=False)
    for sentinel in managed.sentinels[1:]:
        sentinel.kill()
    gateway = lab.instance([], sentinel=managed.config, ready=False)
    assert gateway.raw("SET", "k", "v").startswith(b"-MASTERDOWN")
    assert gateway.info()["role"] == "slave" and not gateway.status()["ready"]
    managed.sentinels[1].start().wait_up()
    assert wait_for(lambda: gateway("SET", "k", "v"), 15, "a majority") == "OK"


def test_names_and_passwords(lab, binary):
    """Addresses are names, as in Kubernetes; the Sentinels ask for a password of their own."""
    options = QUICKLY + NAMES + ("=requirepass hush", "=sentinel sentinel-pass hush")
    managed = Managed(lab, host="localhost", options=options, gateway=False, password="hush")
    refused = lab.instance([], sentinel=managed.config, ready=False)
    wait_for(lambda: "NOAUTH" in refused.status()["trouble"], 10, "the reason to be told")
    managed.config["password"] = "hush"
    gateway = lab.instance([], sentinel=managed.config)
    assert gateway.info()["master_host"] == "localhost" and gateway("SET", "k", "v") == "OK"
    wait_for(lambda: len(reads_from(gateway, managed.servers[1:])) == 2, 10, "both replicas to be read")


@pytest.mark.parametrize("sentinel, words", [
    ({"addresses": ["127.0.0.1:1"]}, "sentinel.master-name: is needed"),
    ({"master-name": "m"}, "sentinel.addresses: is needed"),
    ({"master-name": "m", "addresses": ["127.0.0.1:1"], "quorum": 2}, "2 cannot agree where only 1 are asked"),
], ids=["no name", "no addresses", "quorum"])
def test_what_does_not_fit_is_refused(lab, binary, sentinel, words):
    instance = lab.instance([lab.server()], sentinel=sentinel, start=False)
    instance.start()
    assert instance.process.wait(10) == 1
    assert words in instance.log_text()
