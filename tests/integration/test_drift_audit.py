"""The drift audit: equal replicas are never called different, different ones are found, not read, and healed.

Equal ones under a mixed load of all types, with expiring keys, all encodings, evictions, a replica-side instance and
another instance as upstream. Different ones are planted on a replica that takes writes.
"""

import random
import signal
import threading
import urllib.request

import pytest

from harness import HOST, server_binaries, server_version, stays, wait_converged, wait_for
from load import Load
from resp_client import ReplyError, RespClient

RATE = 10_000


def audits(instance):
    """Of all nodes that are compared."""
    return [node["audit"] for node in instance.status()["nodes"] if node["role"] == "replica"]


def state_of(instance, server):
    return next(node["state"] for node in instance.status()["nodes"] if node["address"] == server.address)


def metrics(instance):
    return urllib.request.urlopen(f"http://{HOST}:{instance.admin_port}/metrics", timeout=5).read().decode()


def all_differences(instance):
    return sum(audit["differences"] for audit in audits(instance))


class HotKey:
    """One key that is written all the time: what is read of it at two servers hardly ever is the same."""

    def __init__(self, port):
        self._client, self._stop = RespClient(port), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._stop.is_set():
            self._client.pipeline([("INCR", "string:hot")] * 100)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._client.close()


def fill_with_every_encoding(client):
    """Small and large ones of each type, in three databases, some with an expiry."""
    rng = random.Random(7)
    for db in (0, 3, 9):
        client("SELECT", db)
        for i in range(25):
            size = rng.choice([1, 5, 40, 129, 300, 700])
            members = [f"m{rng.getrandbits(48):x}" for _ in range(size)]
            client("SET", f"string:{i}", "x" * size)
            client("SET", f"number:{i}", rng.getrandbits(40))
            client("RPUSH", f"list:{i}", *members)
            client("SADD", f"set:{i}", *members)
            client("SADD", f"intset:{i}", *range(size))
            client("HSET", f"hash:{i}", *[word for m in members for word in (m, m * 3)])
            client("ZADD", f"zset:{i}", *[word for m in members for word in (rng.uniform(-1e9, 1e9), m)])
            client("PFADD", f"hll:{i}", *members)
            client("XADD", f"stream:{i}", "*", "field", "value")
            client("SET", f"binary:{i}", bytes(rng.randrange(256) for _ in range(size)))
            client("SET", f"expires:{i}", "soon", "PX", rng.randrange(500, 30_000))
    client("SELECT", 0)
    client("SET", "too large to look at", "x" * 200_000)


def gateway(lab, **options):
    """An instance with its primary and two replicas."""
    primary, one, two = lab.servers(3, **options)
    fill_with_every_encoding(primary.client())
    return lab.instance([primary, one, two], audit_rate=RATE), primary, [one, two]


def sidecar(lab, **options):
    """A replica-side instance below a stock primary."""
    primary, one = lab.servers(2, **options)
    fill_with_every_encoding(primary.client())
    return lab.instance([one], replicaof=primary, audit_rate=RATE), primary, [one]


def chain(lab, **options):
    """A replica-side instance below a primary's instance."""
    primary, one = lab.servers(2, **options)
    fill_with_every_encoding(primary.client())
    above = lab.instance([primary])
    return lab.instance([one], replicaof=above, audit_rate=RATE), primary, [one]


@pytest.mark.parametrize("layout", [gateway, sidecar, chain], ids=lambda layout: layout.__name__)
def test_equal_replicas_are_never_called_different(lab, binary, server_binary, layout):
    instance, primary, replicas = layout(lab, binary=server_binary)
    port = instance.port if layout is gateway else primary.port
    with Load(port, threads=2, pause=0.002) as load, HotKey(port):
        wait_for(lambda: all(a["compared"] > 3000 and a["passes"] >= 1 for a in audits(instance)), 60,
                 "thousands of comparisons under load")
    assert load.operations > 0
    for audit in audits(instance):
        assert audit["differences"] == 0 and audit["passed_over"] > 0, audit
    assert instance.nodes_online()
    wait_converged(primary, replicas)                # the audit itself left nothing behind


def test_equal_replicas_of_another_version_are_not_different_either(lab, binary, server_binary):
    """Scores are written otherwise, expiries told otherwise."""
    oldest = min(server_binaries(), key=server_version)
    primary, replica = lab.server(binary=oldest), lab.server(binary=server_binary)
    fill_with_every_encoding(primary.client())
    instance = lab.instance([primary, replica], audit_rate=RATE)
    with Load(instance.port, pause=0.002):
        wait_for(lambda: audits(instance)[0]["compared"] > 3000 and audits(instance)[0]["passes"] >= 1, 60,
                 "thousands of comparisons under load")
    assert all_differences(instance) == 0 and instance.nodes_online()


def test_evictions_are_no_differences(lab, binary):
    primary, replica = lab.servers(2, maxmemory="6mb", maxmemory_policy="allkeys-random")
    instance = lab.instance([primary, replica], audit_rate=RATE)
    stop = threading.Event()

    def overflow():
        with primary.client() as client:
            while not stop.is_set():
                for _ in range(50):
                    client("SET", f"key:{random.randrange(100_000)}", "x" * 400)

    writer = threading.Thread(target=overflow, daemon=True)
    writer.start()
    wait_for(lambda: primary.stat("evicted_keys") > 1000 and audits(instance)[0]["compared"] > 3000, 60,
             "evictions and comparisons")
    stop.set()
    writer.join()
    assert all_differences(instance) == 0 and state_of(instance, replica) == "online"


def write_there(server, *command):
    """Past the instance, at a replica that lets itself be written to."""
    with server.client() as client:
        client("CONFIG", "SET", "replica-read-only", "no")
        client(*command)
        client("CONFIG", "SET", "replica-read-only", "yes")


PLANTED = {
    "another value": ("SET", "string:5", "not what the primary has"),
    "a field of a hash": ("HSET", "hash:7", "field", "of nobody"),
    "a key that is missing": ("DEL", "zset:11"),
    "a key too many": ("SET", "ghost of another time", "boo"),
    "an expiry": ("PEXPIRE", "set:3", 3_600_000),
    "a type": ("EVAL", "redis.call('del', KEYS[1]) redis.call('rpush', KEYS[1], 'a')", 1, "string:9"),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_difference_is_found_not_read_and_healed(lab, binary, planted):
    instance, primary, (sound, drifted) = gateway(lab)
    wait_for(lambda: all(audit["compared"] > 0 for audit in audits(instance)), 20, "the audit to begin")
    write_there(drifted, *planted)
    key = next(word for word in planted[1:] if ":" in str(word) or " " in str(word) and "redis" not in word)
    wait_for(lambda: state_of(instance, drifted) == "differs", 60, "the difference to be found")
    assert state_of(instance, sound) == "online"
    shown = instance("SIDESTREAM", "AUDIT").decode()
    assert f'db=0 key="{key}"' in shown, shown
    assert key not in instance.log_text() and drifted.address in instance.log_text()   # names of keys are data
    assert f'sidestream_replica_state{{node="{drifted.address}",state="differs"}} 1' in metrics(instance)
    reads = drifted.calls("EXISTS")
    with instance.client() as client:                # the other replica and the primary answer
        for _ in range(200):
            client("EXISTS", key)
    assert drifted.calls("EXISTS") == reads and sound.calls("EXISTS") + primary.calls("EXISTS") >= 200

    full = instance.counters()["full_syncs"]
    assert instance("SIDESTREAM", "RESYNC", drifted.address) == "OK"
    wait_for(lambda: state_of(instance, drifted) == "online", 30, "it to be read again")
    assert instance.counters()["full_syncs"] == full + 1
    wait_converged(primary, [sound, drifted])
    before = all_differences(instance)
    seen = audits(instance)[1]["passes"]
    wait_for(lambda: audits(instance)[1]["passes"] > seen + 1, 60, "another pass")
    assert all_differences(instance) == before and instance.nodes_online()


def test_a_sidecar_reads_at_its_upstream_until_its_node_is_healed(lab, binary):
    instance, primary, (node,) = sidecar(lab)
    write_there(node, "SET", "string:5", "not what the primary has")
    wait_for(lambda: state_of(instance, node) == "differs", 60, "the difference to be found")
    assert instance("GET", "string:5") == primary("GET", "string:5")
    assert instance.status()["ready"]
    assert instance("SIDESTREAM", "RESYNC", node.address) == "OK"
    wait_for(lambda: state_of(instance, node) == "online", 30, "it to be read again")
    wait_converged(primary, [node])


@pytest.mark.parametrize("way", ["kill", "upgrade"])
def test_a_restart_does_not_forget_who_differs(lab, binary, way):
    instance, primary, (sound, drifted) = gateway(lab)
    write_there(drifted, "SET", "string:5", "not what the primary has")
    wait_for(lambda: state_of(instance, drifted) == "differs", 60, "the difference to be found")
    kept = instance.dir / "data" / "drifted"
    wait_for(lambda: drifted.address in kept.read_text(), 10, "it to be kept")
    instance.config["audit-rate"] = 0                # only what is remembered tells
    if way == "upgrade":
        instance("CONFIG", "SET", "audit-rate", "0")
        instance.signal(signal.SIGUSR2)
        instance.succeeded()
    else:
        instance.kill()
        instance.start().wait_up()
    wait_for(lambda: state_of(instance, drifted) == "differs" and state_of(instance, sound) == "online", 30,
             "all to be in their places")
    for _ in range(20):
        assert instance("GET", "string:5") == primary("GET", "string:5")
    assert instance("SIDESTREAM", "RESYNC", drifted.address) == "OK"
    wait_for(lambda: state_of(instance, drifted) == "online", 30, "it to be read again")
    wait_converged(primary, [sound, drifted])
    wait_for(lambda: kept.read_text() == "", 10, "it to be forgotten")


def test_a_replica_that_differs_is_the_last_choice_of_a_failover(lab, binary):
    instance, primary, replicas = gateway(lab)
    first = instance.status()["replicas"][0]["address"]  # who attached first would be chosen of two equals
    drifted, sound = sorted(replicas, key=lambda server: server.address != first)
    write_there(drifted, "SET", "string:5", "not what the primary has")
    wait_for(lambda: state_of(instance, drifted) == "differs", 60, "the difference to be found")
    assert instance("FAILOVER") == "OK"
    wait_for(lambda: sound.role() == "master", 20, "the sound one to lead")
    instance.wait_ready()
    wait_for(lambda: state_of(instance, drifted) == "differs", 20, "it to follow, and to be as it was")


def test_a_resync_takes_nothing_from_replicas(lab, binary):
    """Nor the snapshot that one of them gave before."""
    primary, one, two = lab.servers(3)
    fill_with_every_encoding(primary.client())
    one.replicaof(primary)
    one.wait_link()
    instance = lab.instance([primary, one])          # goes on from where it is: there is no snapshot yet
    assert instance.counters()["full_syncs"] == 0
    write_there(one, "SET", "ghost", "boo")
    instance("CONFIG", "SET", "nodes", f"{primary.address},{one.address},{two.address}")
    wait_for(lambda: state_of(instance, two) == "online", 30, "the new one to be filled")
    assert two("GET", "ghost") == b"boo"             # by the other replica
    instance("CONFIG", "SET", "audit-rate", RATE)
    for server in (one, two):
        wait_for(lambda: state_of(instance, server) == "differs", 60, "the difference to be found")
    for server in (one, two):
        assert instance("SIDESTREAM", "RESYNC", server.address) == "OK"
        wait_for(lambda: state_of(instance, server) == "online", 30, "it to be read again")
        assert server("GET", "ghost") is None
    wait_converged(primary, [one, two])


def test_what_resync_refuses_and_audit_says_when_it_is_off(lab, binary):
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica])
    assert b"audit-rate is 0" in instance("SIDESTREAM", "AUDIT")
    for words, expected in [((f"{HOST}:1",), "no replica that is attached now"), (("nonsense",), "ERR"),
                            ((primary.address,), "no replica that is attached now"), ((), "wrong number")]:
        with pytest.raises(ReplyError, match=expected):
            instance("SIDESTREAM", "RESYNC", *words)
    stays(lambda: audits(instance)[0]["compared"] == 0, 0.5, "nothing is compared")
    instance("SET", "a", "b")
    assert instance("CONFIG", "SET", "audit-rate", "100") == "OK"
    wait_for(lambda: audits(instance)[0]["compared"] > 0, 20, "the audit to begin")
    calls = primary.calls("GET")
    instance("CONFIG", "SET", "audit-rate", "0")
    wait_for(lambda: b"audit-rate is 0" in instance("SIDESTREAM", "AUDIT"), 5, "it to end")
    calls = primary.calls("SCAN")
    stays(lambda: primary.calls("SCAN") == calls, 0.5, "nothing is looked at")
