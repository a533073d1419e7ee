"""SIDESTREAM TOKEN and READAFTER: what one connection wrote, another sees, also at another instance. And WAIT."""

import pytest

from harness import wait_for
from resp_client import ReplyError


@pytest.fixture
def two(lab, binary):
    """(instance in front of the primary and a replica, instance that follows it with a node of its own, that node)."""
    top, replica, node = lab.servers(3)
    first = lab.instance([top, replica])
    second = lab.instance([node], replicaof=first)
    second.wait_link()
    return first, second, node


def test_a_token_names_the_last_write(two):
    first, _, _ = two
    with first.client() as client, first.client() as other:
        empty = client("SIDESTREAM", "TOKEN").decode()
        assert empty.split(":")[0] == first.replid()
        client("SET", "k", "v")
        mine = client("SIDESTREAM", "TOKEN").decode()
        assert int(mine.split(":")[1]) > int(empty.split(":")[1])
        other("SET", "l", "v")
        assert client("SIDESTREAM", "TOKEN").decode() == mine, "of my last write, not of everybody's"
        assert int(other("SIDESTREAM", "TOKEN").decode().split(":")[1]) > int(mine.split(":")[1])
        client.pipeline([("MULTI",), ("SET", "k", "w"), ("EXEC",)])
        assert int(client("SIDESTREAM", "TOKEN").decode().split(":")[1]) > int(mine.split(":")[1])


@pytest.mark.parametrize("policy", ["fresh", "eventual", "bounded"])
def test_reads_after_a_token_are_not_older_at_another_instance(two, policy):
    first, second, node = two
    with first.client() as writer, second.client() as reader:
        reader("SIDESTREAM", "READS", policy)
        for number in range(100):
            writer("SET", "k", number)
            token = writer("SIDESTREAM", "TOKEN")
            assert reader("SIDESTREAM", "READAFTER", token, *([5000] if number % 2 else [])) == "OK"
            assert reader("GET", "k") == b"%d" % number
            assert reader("EVAL_RO", "return redis.call('get', KEYS[1])", 1, "k") == b"%d" % number


def test_while_the_node_is_frozen_the_read_goes_where_the_write_is(two):
    first, second, node = two
    with first.client() as writer, second.client() as reader:
        reader("GET", "k")
        node.pause()
        try:
            writer("SET", "k", "new")
            assert reader("SIDESTREAM", "READAFTER", writer("SIDESTREAM", "TOKEN")) == "OK"
            assert reader("GET", "k") == b"new"
        finally:
            node.resume()


def test_what_is_no_token_is_refused(two):
    first, _, _ = two
    with first.client() as client:
        client("SET", "k", "v")
        here = first.replid()
        for token, why in (("nonsense", "not a token"), (f"{here}", "not a token"), (f"{here}:x", "not a token"),
                           (f"{here}:-1", "not a token"), ("f" * 40 + ":1", "another history")):
            with pytest.raises(ReplyError, match=why):
                client("SIDESTREAM", "READAFTER", token)
        with pytest.raises(ReplyError, match="timeout"):
            client("SIDESTREAM", "READAFTER", f"{here}:1", "x")
        with pytest.raises(ReplyError, match="TRYAGAIN"):
            client("SIDESTREAM", "READAFTER", f"{here}:{10**12}", 50)
        assert client("GET", "k") == b"v", "a token that did not come holds nothing"


def test_tokens_outlive_a_change_of_the_primary(two):
    first, second, _ = two
    with first.client() as writer:
        writer("SET", "k", "v")
        token = writer("SIDESTREAM", "TOKEN")
        wait_for(lambda: second.offset() >= int(token.decode().split(":")[1]), 10, "the write at the second instance")
    assert second("REPLICAOF", "NO", "ONE") == "OK"
    with second.client() as client:
        assert client("SIDESTREAM", "READAFTER", token, 5000) == "OK"
        assert wait_for(lambda: client("GET", "k"), 10, "the value") == b"v"


def test_wait_is_about_the_callers_own_writes(two):
    first, _, _ = two
    replicas = int(first.info()["connected_slaves"])
    with first.client(timeout=20) as client, first.client() as other:
        client("SET", "mine", "v")
        assert client("WAIT", replicas, 10000) == replicas
        for number in range(50):
            other("SET", "theirs", number)
            # What others write meanwhile does not count: everybody has had this write for long.
            assert client("WAIT", replicas, 1) == replicas
            assert client.pipeline([("MULTI",), ("WAIT", replicas, 0), ("EXEC",)])[-1] == [replicas]
