"""Expiry, eviction, scripts, functions and writable replicas at the end of a chain: top <- middle <- replica, where the
middle is a stock replica, then an instance with a node. Both have to pass the same tests."""

import pytest

from harness import stays, wait_converged, wait_for


class Chain:
    def __init__(self, lab, subject):
        quiet = {"repl_ping_replica_period": 3600}
        self.top, self.replica, node = lab.servers(3, **quiet)
        if subject == "stock":
            node.replicaof(self.top)
            self.middle = node.wait_link()
        else:
            self.middle = lab.instance([node], replicaof=self.top).wait_link()
        self.replica.replicaof(self.middle)
        self.replica.wait_link()
        self.behind = [node, self.replica]

    def wait_level(self):
        wait_converged(self.top, self.behind)


@pytest.fixture
def chain(lab, subject):
    return Chain(lab, subject)


def test_expired_keys_are_hidden_before_they_are_deleted(chain):
    top, replica = chain.top, chain.replica
    top("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    top("SET", "short", "v", "PX", 300)
    top("SET", "long", "v", "EX", 1000)
    wait_for(lambda: replica("DBSIZE") == 2, 10, "both keys")
    wait_for(lambda: replica("GET", "short") is None, 10, "the short one to expire")
    assert replica("DBSIZE") == 2 and replica("EXISTS", "short") == 0, "it is there until the primary deletes it"
    assert chain.middle("GET", "short") is None and chain.middle("GET", "long") == b"v"
    assert top("GET", "short") is None               # the primary notices, and says DEL
    chain.wait_level()
    assert replica("DBSIZE") == 1
    assert 0 < replica("PTTL", "long") <= 1000000 and abs(replica("PTTL", "long") - top("PTTL", "long")) < 2000


def test_expiry_commands_of_every_kind_end_in_the_same_data(chain):
    with chain.top.client() as client:
        for number in range(50):
            client("SET", f"k{number}", number)
            client("EXPIRE", f"k{number}", 500 + number)
        client("EXPIRE", "k0", -1)
        client("PERSIST", "k1")
        client("GETEX", "k2", "PERSIST")
        client("SET", "k3", "kept", "KEEPTTL")
        client("PEXPIREAT", "k4", 1)
        client("GETDEL", "k5")
    chain.wait_level()
    assert chain.replica("EXISTS", "k0", "k4", "k5") == 0 and chain.replica("TTL", "k1") == -1


def test_eviction_is_the_primarys(chain):
    """Its replicas ignore maxmemory and follow its deletions."""
    top = chain.top
    used = int(top.info("memory")["used_memory"])
    top("CONFIG", "SET", "maxmemory", used + (2 << 20), "maxmemory-policy", "allkeys-random")
    with top.client() as client:
        for _ in range(5):
            client.pipeline([("SET", f"fill:{number}", "x" * 1000) for number in range(5000)])
    assert top.stat("evicted_keys") > 100
    chain.wait_level()
    assert chain.replica.stat("evicted_keys") == 0


def test_scripts_travel_as_their_effects(chain):
    with chain.top.client() as client:
        script = ("for i = 1, 20 do redis.call('SET', 'script:' .. i, i); redis.call('INCR', 'sum') end "
                  "redis.call('SADD', 'set', 1, 2, 3, 4, 5, 6); redis.call('SPOP', 'set', 2) "
                  "return redis.call('INCRBYFLOAT', 'float', 1.5)")
        client("EVAL", script, 0)
        client("MULTI")
        client("EVAL", "return redis.call('RPUSH', 'list', 'a', 'b')", 0)
        client("INCR", "sum")
        client("EXEC")
    chain.wait_level()
    assert chain.replica("GET", "sum") == b"21" and chain.replica("SCARD", "set") == 4


def test_functions_travel_in_the_stream_and_in_snapshots(lab, chain):
    if chain.top.version < (7, 0, 0):
        pytest.skip("no functions before 7.0")
    library = "#!lua name={0}\nredis.register_function('{0}', function(keys) return redis.call('INCR', keys[1]) end)"
    chain.top("FUNCTION", "LOAD", library.format("first"))
    chain.top("FCALL", "first", 1, "n")
    chain.wait_level()
    late = lab.server()
    late.replicaof(chain.middle)
    late.wait_link()
    chain.top("FUNCTION", "LOAD", library.format("second"))
    for server in (chain.replica, late):
        wait_for(lambda s=server: len(s("FUNCTION", "LIST")) == 2, 10, f"both libraries at {server.name}")
    chain.top("FUNCTION", "DELETE", "first")
    for server in (chain.replica, late):
        wait_for(lambda s=server: len(s("FUNCTION", "LIST")) == 1, 10, f"one library at {server.name}")
    chain.wait_level()


def test_writes_to_a_writable_replica_stay_there(chain):
    top, replica = chain.top, chain.replica
    replica("CONFIG", "SET", "replica-read-only", "no")
    chain.wait_level()
    offset = replica.offset()
    replica("SET", "local", "only")
    replica("SET", "brief", "v", "PX", 200)
    wait_for(lambda: replica("EXISTS", "brief") == 0, 10, "a local key to expire")
    stays(lambda: top("EXISTS", "local") == 0 and chain.middle("EXISTS", "local") == 0, 0.3, "nobody else has it")
    assert replica.offset() == offset == top.offset()
    top("SET", "local", "of the primary")
    wait_for(lambda: replica("GET", "local") == b"of the primary", 10, "the primary's word to win")
    assert replica.link_up()
