"""Scripts and functions: equal on every server, on replicas when they only read, loaded again where missing."""

import hashlib

import pytest

from harness import HOST, free_port, wait_for
from resp_client import RespClient, encode, same_reply

READER = "return redis.call('get', KEYS[1])"
SHEBANG_READER = "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])"
LIBRARY = """#!lua name=lib
redis.register_function('w', function(k, a) return redis.call('set', k[1], a[1]) end)
redis.register_function{function_name='r', flags={'no-writes'},
                        callback=function(k) return redis.call('get', k[1]) end}
"""


def sha(body):
    return hashlib.sha1(body.encode()).hexdigest()


@pytest.fixture
def group(lab, binary):
    """(instance, primary, replicas) with two replicas that follow."""
    primary, *replicas = lab.servers(3)
    primary("SET", "k", "v")
    instance = lab.instance([primary, *replicas])
    return instance, primary, replicas


def until_replicas_run(client, replicas, name, *command, expect=b"v"):
    """Runs the command until replicas have run it (a connection of its own has to be open there first)."""
    def runs():
        assert client(*command) == expect
        return sum(replica.calls(name) for replica in replicas) > 3
    wait_for(runs, 20, f"{name} on a replica")


@pytest.mark.parametrize("name,command", [
    ("eval_ro", ("EVAL_RO", READER, 1, "k")), ("eval_ro", ("EVAL", SHEBANG_READER, 1, "k")),
    ("evalsha_ro", ("EVALSHA_RO", sha(READER), 1, "k")), ("evalsha_ro", ("EVALSHA", sha(SHEBANG_READER), 1, "k")),
    ("fcall_ro", ("FCALL_RO", "r", 1, "k")), ("fcall_ro", ("FCALL", "r", 1, "k"))])
def test_what_only_reads_runs_on_replicas(group, name, command):
    instance, _, replicas = group
    with instance.client() as client:
        for body in (READER, SHEBANG_READER):
            client("SCRIPT", "LOAD", body)
        client("FUNCTION", "LOAD", LIBRARY)
        until_replicas_run(client, replicas, name, *command)
        assert "replica" in client("SIDESTREAM", "EXPLAIN", *command).decode()


def test_scripts_that_read_are_fresh(group):
    instance, _, replicas = group
    with instance.client() as reader, instance.client() as writer:
        until_replicas_run(reader, replicas, "eval_ro", "EVAL_RO", READER, 1, "k")
        for number in range(300):
            writer("SET", "k", number)
            assert reader("EVAL_RO", READER, 1, "k") == b"%d" % number
            assert reader("EVAL", SHEBANG_READER, 1, "k") == b"%d" % number


def test_functions_are_tried_as_readers_and_never_write_at_a_replica(group):
    instance, primary, replicas = group
    with instance.client() as client:
        client("FUNCTION", "LOAD", LIBRARY)
        until_replicas_run(client, replicas, "fcall_ro", "FCALL", "r", 1, "k")
        for number in range(20):
            assert client("FCALL", "w", 1, "k", number) == "OK"
            assert client("FCALL", "r", 1, "k") == b"%d" % number
        assert sum(replica.calls("fcall") for replica in replicas) == 0
        assert primary.calls("fcall") >= 20
        # The same name, now a writer.
        changed = LIBRARY.replace("{'no-writes'}", "{}").replace("'get', k[1]", "'incr', k[1]")
        client("FUNCTION", "LOAD", "REPLACE", changed)
        assert client("FCALL", "r", 1, "k") == 20
        assert client("GET", "k") == b"20"
        assert client.raw("FCALL_RO", "r", 1, "k") == primary.raw("FCALL_RO", "r", 1, "k")
        assert client.raw("FCALL", "nosuch", 0) == primary.raw("FCALL", "nosuch", 0)


def test_script_load_and_flush_reach_every_node(group):
    instance, primary, replicas = group
    nodes = [primary, *replicas]
    with instance.client() as client:
        def loaded_at(node):
            assert client("SCRIPT", "LOAD", READER) == sha(READER).encode()
            return node("SCRIPT", "EXISTS", sha(READER)) == [1]
        for node in nodes:      # one that could not be reached when it was loaded gets it when it is asked for
            wait_for(lambda: loaded_at(node), 10, f"the script at {node.name}")
        assert client("SCRIPT", "FLUSH") == "OK"
        for node in nodes:
            wait_for(lambda: node("SCRIPT", "EXISTS", sha(READER)) == [0], 10, f"no script at {node.name}")
        assert client.raw("EVALSHA", sha(READER), 1, "k").startswith(b"-NOSCRIPT")
        assert client("SCRIPT", "EXISTS", sha(READER)) == [0]


def test_a_script_that_a_server_lost_is_loaded_again(group):
    instance, primary, replicas = group
    with instance.client() as client:
        assert client("EVAL", READER, 1, "k") == b"v"
        client("SCRIPT", "LOAD", "return 7")
        for _ in range(3):
            primary("SCRIPT", "FLUSH")
            assert client("EVALSHA", sha(READER), 1, "k") == b"v"
            assert client("EVALSHA", sha("return 7").upper(), 0) == 7
        until_replicas_run(client, replicas, "evalsha_ro", "EVALSHA_RO", sha(READER), 1, "k")
        for server in (primary, *replicas):
            server("SCRIPT", "FLUSH")
        for _ in range(10):
            assert client("EVALSHA_RO", sha(READER), 1, "k") == b"v"
        batch = [("EVALSHA", sha(READER), 1, "k"), ("GET", "k"), ("EVALSHA", sha("x"), 0), ("PING",)]
        assert client.pipeline(batch)[:2] == [b"v", b"v"]
        assert client.raw("EVALSHA", sha("never seen"), 0) == primary.raw("EVALSHA", sha("never seen"), 0)
        assert client("PING") == "PONG"


def test_scripts_survive_a_change_of_the_primary(lab, binary):
    top, node = lab.servers(2)
    upstream = lab.instance([top])
    instance = lab.instance([node], replicaof=upstream)
    instance.wait_link()
    with instance.client() as client:
        loaded = client("SCRIPT", "LOAD", "return redis.call('incr', KEYS[1])")
        assert client("EVALSHA", loaded, 1, "n") == 1
        wait_for(lambda: node("GET", "n") == b"1", 10, "the write at the node")
        assert instance("REPLICAOF", "NO", "ONE") == "OK"
        assert wait_for(lambda: client("EVALSHA", loaded, 1, "n"), 15, "the script at the new primary") == 2


@pytest.mark.parametrize("where", ["primary", "replica"])
def test_script_kill_reaches_whoever_runs_one(group, where):
    instance, primary, replicas = group
    nodes = [primary, *replicas]
    for node in nodes:
        node("CONFIG", "SET", "busy-reply-threshold", 50)
    slow = instance.client(timeout=60)
    with instance.client(timeout=30) as client:
        assert client.raw("SCRIPT", "KILL").startswith(b"-NOTBUSY")
        if where == "replica":
            # By the same client: on another event loop there may be no connection for it yet.
            until_replicas_run(slow, replicas, "eval_ro", "EVAL_RO", READER, 1, "k")
            slow.send("EVAL_RO", "while true do redis.call('get', KEYS[1]) end", 1, "k")
            busy = replicas
        else:
            slow.send("EVAL", "while true do end", 0)
            busy = [primary]
        wait_for(lambda: any(node.raw("GET", "k").startswith(b"-BUSY") for node in busy), 20, f"a busy {where}")
        if where == "replica":
            for _ in range(10):
                assert client("GET", "k") == b"v"      # a busy replica is not asked, or asked in vain
        assert wait_for(lambda: client("SCRIPT", "KILL"), 20, "SCRIPT KILL") == "OK"
        assert slow.read_raw().startswith(b"-ERR")
        wait_for(lambda: client("SET", "k", "w") == "OK", 20, "writes again")


def test_the_read_port_runs_what_promises_not_to_write(lab, binary):
    primary, replica = lab.servers(2)
    primary("SET", "k", "v")
    port = free_port()
    instance = lab.instance([primary, replica], read_listen=f"{HOST}:{port}")
    with instance.client() as client:
        client("FUNCTION", "LOAD", LIBRARY)
    read = RespClient(port)
    for _ in range(5):
        assert read("EVAL", SHEBANG_READER, 1, "k") == b"v"
        assert read("EVAL_RO", READER, 1, "k") == b"v"
        assert read("FCALL", "r", 1, "k") == b"v"
        assert read.raw("FCALL", "w", 1, "k", "x") == b"-READONLY You can't write against a read only replica.\r\n"
        assert read.raw("EVAL", READER, 1, "k").startswith(b"-READONLY")
    assert primary("GET", "k") == b"v"


def test_errors_and_order_are_stocks(sides):
    for body in ("return redis.call('set', KEYS[1], 1)", "#!lua flags=no-writes\nreturn redis.call('set', KEYS[1], 1)",
                 "#!lua flags=nosuch\nreturn 1", "#!lua\nreturn redis.call('incr', 'n')", "#!js\nreturn 1",
                 "#!lua flags=no-writes,allow-stale\nreturn {1, 'a', redis.call('get', KEYS[1])}", "return KEYS[1]",
                 "#!lua flags=no-writes\nerror('mine')"):
        for name in ("EVAL", "EVAL_RO"):
            same_reply(*sides, name, body, 1, "k")
        for name in ("EVALSHA", "EVALSHA_RO"):
            same_reply(*sides, name, sha(body), 1, "k")
        same_reply(*sides, "SCRIPT", "EXISTS", sha(body))
    for command in (("EVAL",), ("EVALSHA", "short", 0), ("EVALSHA", "x" * 40, 0), ("EVAL_RO", "return 1"),
                    ("EVAL", "return 1", -1), ("FCALL_RO", "nosuch", 0), ("FCALL", "nosuch", 1),
                    ("SCRIPT", "LOAD", "("),
                    ("SCRIPT", "FLUSH", "NOSUCH"), ("SCRIPT", "FLUSH", "ASYNC"), ("SCRIPT", "KILL"),
                    ("FUNCTION", "KILL"), ("SCRIPT", "EXISTS")):
        same_reply(*sides, *command)
    batch = [("SET", "k", "1"), ("EVAL_RO", READER, 1, "k"), ("SET", "k", "2"), ("EVAL", SHEBANG_READER, 1, "k"),
             ("EVALSHA", sha(SHEBANG_READER), 1, "k"), ("GET", "k"), ("EVALSHA_RO", sha(READER), 1, "k")]
    assert sides[1].pipeline_raw(batch * 20) == sides[0].pipeline_raw(batch * 20)


def test_client_reply_skip_hides_a_script(sides):
    expected, actual = sides
    for side in sides:
        skip = encode("CLIENT", "REPLY", "SKIP")
        side.send_raw(skip + encode("EVAL_RO", "return 1", 0) + encode("EVAL", "return 2", 0)
                      + skip + encode("EVAL", "return 3", 0) + encode("PING"))
    for _ in range(2):
        assert actual.read_raw() == expected.read_raw()
