"""deny-commands: what the operator does not want is refused, whatever way it comes."""

import pytest

from harness import wait_for
from resp_client import ReplyError


def test_denied_commands(lab, binary):
    node = lab.server()
    instance = lab.instance([node], deny_commands=["KEYS", "config|set", "FLUSHALL", "EVAL"])
    with instance.client() as client:
        for command in (("KEYS", "*"), ("keys", "*"), ("CONFIG", "SET", "maxmemory", "0"), ("FLUSHALL",),
                        ("EVAL", "return 1", 0)):
            with pytest.raises(ReplyError, match="^NOPERM .*deny-commands"):
                client(*command)
        assert client("CONFIG", "GET", "databases") == [b"databases", b"16"]
        assert client.raw("KEYS") == node.raw("KEYS"), "arity is checked before"
        assert b"deny-commands" in client("SIDESTREAM", "EXPLAIN", "KEYS", "*")
        replies = client.pipeline([("MULTI",), ("SET", "k", "v"), ("KEYS", "*"), ("EXEC",), ("GET", "k")])
        assert str(replies[2]).startswith("NOPERM") and str(replies[3]).startswith("EXECABORT") and replies[4] is None
        assert client("SET", "k", "v") == "OK"
    wait_for(lambda: node("GET", "k") == b"v", 5, "the write")


def test_denied_before_any_node_answers(lab, binary):
    node = lab.server(start=False)
    instance = lab.instance([node], ready=False, deny_commands=["REPLICAOF"])
    assert instance.raw("REPLICAOF", "NO", "ONE").startswith(b"-NOPERM")
