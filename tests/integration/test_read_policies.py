"""Where reads go: policies, weights, rules, cut and lagging replicas, and what EXPLAIN says about it."""

import pytest

from fault_proxy import FaultProxy
from harness import wait_for


def served(servers, command, run):
    """How many of `command` each server executed while run() ran."""
    before = [server.calls(command) for server in servers]
    run()
    return [server.calls(command) - b for server, b in zip(servers, before)]


def group(lab, weights=(100, 100, 100), **config):
    servers = lab.servers(len(weights))
    servers[0]("SET", "k", "v")
    nodes = [{"address": s.address, "weight": w} for s, w in zip(servers, weights)]
    instance = lab.instance(nodes, **config)
    wait_for(lambda: all(s("GET", "k") == b"v" for s in servers), 10, "the nodes to be filled")
    return instance, servers


def reads(instance, count=1000, command=("GET", "k"), batch=1):
    def run():
        with instance.client() as client:
            for _ in range(count // batch):
                replies = client.pipeline([command] * batch)
                assert len(set(map(str, replies))) == 1
    return run


@pytest.mark.parametrize("policy", ["fresh", "bounded", "eventual"])
@pytest.mark.parametrize("batch", [1, 10])
def test_weights_are_exact(lab, binary, policy, batch):
    """60:40 is 60:40; weight 0 is never read."""
    instance, servers = group(lab, (0, 60, 40), routing={"reads": policy})
    wait_for(lambda: all(served(servers[1:], "get", reads(instance, 50))), 10, "both replicas to be read")
    counts = served(servers, "get", reads(instance, 1000, batch=batch))
    assert counts[0] == 0 and sum(counts) == 1000
    assert abs(counts[1] - 600) <= 2 * batch, counts


def test_primary_policy_reads_nothing_else(lab, binary):
    instance, servers = group(lab, routing={"reads": "primary"})
    assert served(servers, "get", reads(instance, 200)) == [200, 0, 0]


def test_rules_win_over_the_policy(lab, binary):
    instance, servers = group(lab, (0, 100), routing={
        "reads": "eventual", "rules": [{"keys": "stock:*", "reads": "primary"},
                                       {"commands": ["STRLEN"], "reads": "primary"}]})
    assert served(servers, "get", reads(instance, 50)) == [0, 50]
    assert served(servers, "get", reads(instance, 50, ("GET", "stock:1"))) == [50, 0]
    assert served(servers, "strlen", reads(instance, 50, ("STRLEN", "k"))) == [50, 0]
    assert served(servers, "mget", reads(instance, 50, ("MGET", "k", "stock:1"))) == [0, 50], "a rule needs all keys"


def test_writes_and_unknown_things_go_to_the_primary(lab, binary):
    instance, servers = group(lab, routing={"reads": "eventual"})
    for command in (("INCR", "n"), ("GETEX", "k"), ("SORT", "nosuch"), ("PFCOUNT", "nosuch"),
                    ("EVAL", "return 1", "0")):
        counts = served(servers, command[0], lambda c=command: instance(*c))
        assert counts[0] == 1 or command[0] == "PFCOUNT", command


def test_bounded_drops_a_replica_that_lags_in_bytes(lab, binary):
    primary = lab.server()
    instance = lab.instance([{"address": primary.address, "weight": 0}],
                            routing={"reads": "bounded", "max-lag": "10s", "max-lag-bytes": "64kb"})
    proxy = lab.closing(FaultProxy(instance.port))
    replica = lab.server()
    replica.replicaof(proxy)
    replica.wait_link()
    wait_for(lambda: served([replica], "get", reads(instance, 10)) == [10], 10, "reads at the replica")
    proxy.stall("down")
    with instance.client() as client:
        client.pipeline([("SET", "filler", "x" * 20000)] * 10)
    wait_for(lambda: served([primary], "get", reads(instance, 10)) == [10], 10, "reads to leave the lagging replica")
    proxy.resume()
    wait_for(lambda: served([replica], "get", reads(instance, 10)) == [10], 20, "reads to return to it")


def test_bounded_drops_a_replica_that_lags_in_time(lab, binary):
    primary = lab.server(repl_ping_replica_period=1)
    instance = lab.instance([{"address": primary.address, "weight": 0}],
                            routing={"reads": "bounded", "max-lag": "1s", "max-lag-bytes": "64mb"})
    proxy = lab.closing(FaultProxy(instance.port))
    replica = lab.server()
    replica.replicaof(proxy)
    replica.wait_link()
    wait_for(lambda: served([replica], "get", reads(instance, 10)) == [10], 10, "reads at the replica")
    proxy.stall("down")
    instance("SET", "k", "v")
    wait_for(lambda: served([primary], "get", reads(instance, 10)) == [10], 15, "reads to leave the lagging replica")
    proxy.resume()
    wait_for(lambda: served([replica], "get", reads(instance, 10)) == [10], 20, "reads to return to it")


def test_a_replica_that_attaches_becomes_a_read_target_by_itself(lab, binary):
    primary = lab.server()
    instance = lab.instance([{"address": primary.address, "weight": 0}], routing={"reads": "fresh"})
    assert served([primary], "get", reads(instance, 20)) == [20]
    replica = lab.server()
    replica.replicaof(instance)
    replica.wait_link()
    wait_for(lambda: served([replica], "get", reads(instance, 10)) == [10], 10, "reads at the new replica")
    replica.kill()
    assert served([primary], "get", reads(instance, 50)) == [50], "no read is lost with it"


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_reads_survive_the_loss_of_a_replica(lab, binary, how):
    """In the middle of a pipeline: the failed reads are retried elsewhere, none is answered with an error."""
    instance, servers = group(lab, (0, 100, 100))
    with instance.client(timeout=30) as client:
        client.send_raw(b"GET k\r\n" * 3000)
        if how == "killed":
            servers[1].kill()
        else:
            servers[1].pause()
        client.send_raw(b"GET k\r\n" * 3000)
        assert {client.read_raw() for _ in range(6000)} == {b"$1\r\nv\r\n"}
    if how == "frozen":
        servers[1].resume()


def test_a_write_is_never_sent_twice(lab, binary):
    """The connection breaks while writes are under way: an error at most, and no increment counted twice."""
    primary = lab.server()
    proxy = lab.closing(FaultProxy(primary.port))
    instance = lab.instance([{"address": f"127.0.0.1:{proxy.port}"}])
    acknowledged = errors = 0
    with instance.client(timeout=30) as client:
        for turn in range(20):
            client.send_raw(b"INCR n\r\n" * 50)
            if turn % 4 == 3:
                proxy.cut()
            for _ in range(50):
                reply = client.read_raw()
                acknowledged += reply.startswith(b":")
                errors += reply.startswith(b"-")
    value = int(primary("GET", "n") or 0)
    assert acknowledged + errors == 1000
    assert acknowledged <= value <= acknowledged + errors


def test_explain_tells_where_a_command_goes(lab, binary):
    instance, servers = group(lab, (0, 100), routing={"reads": "fresh"})

    def explained(*command):
        return str(instance("SIDESTREAM", "EXPLAIN", *command))
    assert servers[0].address in explained("SET", "k", "v")
    wait_for(lambda: servers[1].address in explained("GET", "never-written"), 10, "a read explained to the replica")
    assert servers[0].address in explained("WATCH", "k")
    assert "unknown" in explained("NOSUCH").lower() or servers[0].address in explained("NOSUCH")


def test_connection_read_policy(lab, binary):
    instance, servers = group(lab, (0, 100), routing={"reads": "primary"})
    with instance.client() as client:
        assert client("SIDESTREAM", "READS", "eventual") == "OK"
        assert served(servers, "get", lambda: [client("GET", "k") for _ in range(10)]) == [0, 10]
        assert client.raw("SIDESTREAM", "READS", "nosuch").startswith(b"-ERR")
        assert served(servers, "get", reads(instance, 10)) == [10, 0], "other connections keep theirs"
