"""Writes that nobody can take now: held up to a bound of time and of bytes, then refused with an error after which
clients try again; never dropped in silence, and never made for a client that has gone."""

import pytest

from harness import wait_for
from resp_client import ReplyError


@pytest.fixture
def cut_off(lab, binary):
    """(the instance above, which is dead, the one below, the node above)"""
    def make(**hold):
        nodes = lab.servers(2)
        top = lab.instance([nodes[0]])
        below = lab.instance([nodes[1]], replicaof=top, hold=hold)
        below.wait_link()
        below("SET", "before", "1")
        wait_for(lambda: nodes[1]("EXISTS", "before") == 1, 10, "the write to come back by the stream")
        top.kill()
        wait_for(lambda: not below.link_up(), 10, "the upstream to be missed")
        return top, below, nodes[0]
    return make


def held(instance):
    return instance.status()["clients"]["held"]


def test_time(lab, cut_off):
    top, below, node = cut_off(timeout="300ms")
    with below.client(timeout=30) as client:
        with pytest.raises(ReplyError, match="^MASTERDOWN .* writes could not be held any longer; try again"):
            client("SET", "k", "refused")
        top.start().wait_up()
        def again():
            return client("SET", "k", "taken") == "OK"
        wait_for(again, 20, "the next one to be taken")
    assert node("GET", "k") == b"taken"


def test_bytes_and_a_client_that_goes(lab, cut_off):
    top, below, node = cut_off(timeout="60s", **{"max-bytes": "1mb"})
    gone = below.client()
    gone.send("SET", "gone", "1")
    wait_for(lambda: held(below) == 1, 10, "the write to be held")
    gone.close()
    wait_for(lambda: held(below) == 0, 10, "its client to be missed")
    large = "x" * (300 << 10)
    clients = [lab.closing(below.client(timeout=120)) for _ in range(3)]
    for number, client in enumerate(clients):
        client.send("SET", f"large:{number}", large)
        wait_for(lambda n=number: held(below) == n + 1, 10, "one more to be held")
    with below.client(timeout=30) as late:
        with pytest.raises(ReplyError, match="^MASTERDOWN "):
            late("SET", "large:late", large)
        assert late("GET", "before") == b"1", "reads go on"
        top.start().wait_up()
        assert [client.read() for client in clients] == ["OK"] * 3
        assert late("SET", "large:late", large) == "OK"
    assert node("EXISTS", "large:0", "large:1", "large:2", "large:late") == 4 and node("EXISTS", "gone") == 0
