"""min-replicas-to-write, min-replicas-max-lag: what a primary refuses for want of good replicas, beside a stock one."""

import pytest

from harness import HOST, free_port, parse_info, wait_for
from resp_client import RespClient, same_reply

REFUSED = b"-NOREPLICAS Not enough good replicas to write.\r\n"
WRITER = "#!lua name=%s\nredis.register_function('%s_w', function(k) return redis.call('SET', k[1], 'f') end)\n" \
         "redis.register_function{function_name='%s_r', callback=function(k) return redis.call('GET', k[1]) end, " \
         "flags={'no-writes'}}"


class Side:
    """A primary, or an instance in front of one, with one replica."""

    def __init__(self, lab, name, instance):
        self.primary, self.replica = lab.server(name=name), lab.server(name=f"{name}-replica")
        if instance:
            self.front = lab.instance([self.primary, self.replica])
        else:
            self.front = self.primary
            self.replica.replicaof(self.primary)
        self.replica.wait_link()
        wait_for(lambda: "state=online" in self.front.info().get("slave0", ""), 10, "its replica")


@pytest.fixture
def sides(lab, subject):
    return Side(lab, "stock", False), Side(lab, "other", subject == "instance")


@pytest.fixture
def both(sides):
    clients = [side.front.client() for side in sides]
    yield clients
    for client in clients:
        client.close()


def require(both, count):
    for client in both:
        assert client("CONFIG", "SET", "min-replicas-to-write", count) == "OK"


COMMANDS = [
    ("SET", "k", "w"), ("DEL", "nosuch"), ("GET", "k"), ("INCR", "k"), ("PFCOUNT", "h"), ("PUBLISH", "c", "m"),
    ("BLPOP", "l", "1"), ("FLUSHALL",), ("SET", "k"), ("XADD", "s", "1-1", "a", "b"), ("SORT", "l", "STORE", "m"),
    ("SORT", "l"), ("GETEX", "k"), ("SCRIPT", "LOAD", "return 1"), ("FUNCTION", "LOAD", WRITER % ("n", "n", "n")),
    ("EVAL", "return redis.call('GET', KEYS[1])", "1", "k"),
    ("EVAL", "return redis.call('SET', KEYS[1], 'e')", "1", "k"),
    ("EVAL", "return {err='MINE my own'}", "0"),
    ("EVAL", "#!lua\nreturn redis.call('GET', KEYS[1])", "1", "k"),
    ("EVAL", "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])", "1", "k"),
    ("EVAL_RO", "return redis.call('SET', KEYS[1], 'e')", "1", "k"),
    ("EVALSHA", "0" * 40, "0"),
    ("FCALL", "lib_w", "1", "k"), ("FCALL", "lib_r", "1", "k"), ("FCALL_RO", "lib_w", "1", "k"),
    ("FCALL", "nosuch", "0"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: "_".join(c[:2]).replace("\n", " ")[:40])
def test_what_is_refused(both, command):
    for client in both:
        client("SET", "k", "1")
        client("FUNCTION", "LOAD", WRITER % ("lib", "lib", "lib"))
    require(both, 2)
    same_reply(*both, *command)
    same_reply(*both, "GET", "k")
    same_reply(*both, "GET", "l")
    require(both, 1)
    same_reply(*both, *command)


def test_transactions(sides, both):
    """Refused when a write is queued; and at EXEC when the replicas were lost in between."""
    require(both, 2)
    for command in (("MULTI",), ("GET", "k"), ("SET", "k", "v"), ("GET", "k"), ("EXEC",), ("GET", "k"),
                    ("MULTI",), ("GET", "k"), ("EXEC",)):
        same_reply(*both, *command)
    require(both, 0)
    for command in (("WATCH", "k"), ("MULTI",), ("SET", "k", "v")):
        same_reply(*both, *command)
    for side in sides:
        assert side.front("CONFIG", "SET", "min-replicas-to-write", 2) == "OK"
    same_reply(*both, "EXEC")
    same_reply(*both, "GET", "k")
    same_reply(*both, "MULTI")
    same_reply(*both, "EXEC")


def test_info_counts_the_good_ones(sides, both):
    expected, actual = [[*parse_info(client("INFO", "replication"))] for client in both]
    assert expected == actual and "min_slaves_good_slaves" not in actual
    require(both, 3)
    expected, actual = [parse_info(client("INFO", "replication")) for client in both]
    assert [*expected] == [*actual]
    assert expected["min_slaves_good_slaves"] == actual["min_slaves_good_slaves"] == "1"
    for name, value in (("min-slaves-to-write", 3), ("min-slaves-max-lag", 10)):
        same_reply(*both, "CONFIG", "GET", name)
    for client in both:
        assert client("CONFIG", "SET", "min-replicas-max-lag", 0) == "OK", "off"
    same_reply(*both, "SET", "k", "v")


def test_a_replica_that_is_not_heard_is_not_good(sides, both):
    for client in both:
        assert client("CONFIG", "SET", "min-replicas-max-lag", 2) == "OK"
    require(both, 1)
    same_reply(*both, "SET", "k", "v")
    for side, client in zip(sides, both):
        side.replica.pause()
        wait_for(lambda: client.raw("SET", "k", "w") == REFUSED, 20, "writes to be refused")
        assert client("GET", "k") is not None, "reads go on"
        side.replica.resume()
        wait_for(lambda: client.raw("SET", "k", "x") == b"+OK\r\n", 20, "writes to be taken again")


def test_on_every_loop_and_port(lab, binary):
    """Every loop knows, the service port refuses too, and it is kept in the file like other options."""
    primary, replica = lab.servers(2)
    port = free_port()
    instance = lab.instance([primary, replica], threads=3, service_listen=f"{HOST}:{port}", min_replicas_to_write=2)
    clients = [instance.client() for _ in range(6)]
    assert {client.raw("SET", "k", "v") for client in clients} == {REFUSED}
    with RespClient(port) as application:
        assert application.raw("SET", "k", "v") == REFUSED
    assert clients[0]("CONFIG", "SET", "min-replicas-to-write", 1) == "OK"
    for client in clients:
        wait_for(lambda: client.raw("SET", "k", "v") == b"+OK\r\n", 5, "writes on this loop")
