"""Faults on purpose, for users' own tests: delays and errors by share of a command, links that are cut or throttled."""

import time

import pytest

from harness import wait_for


@pytest.fixture
def faulty(lab, binary):
    return lab.instance(lab.servers(2), fault_injection=True)


def set_faults(client, text):
    assert client("CONFIG", "SET", "faults", text) == "OK"


def test_off_by_default(lab, binary):
    instance = lab.instance([lab.server()])
    with instance.client() as client:
        assert b"fault-injection: yes" in client.raw("CONFIG", "SET", "faults", "delay=1ms")
        assert b"fault-injection is off" in client.raw("SIDESTREAM", "FAULT", "CUT", "UPSTREAM")
        assert b"fault-injection is off" in client.raw("SIDESTREAM", "FAULT", "THROTTLE", "UPSTREAM", 1)
        assert client.raw("CONFIG", "SET", "fault-injection", "yes").startswith(b"-ERR"), "in the file only"


def test_errors_by_share(faulty):
    with faulty.client() as client:
        set_faults(client, "commands=GET;share=30;error=ERR on purpose")
        replies = client.pipeline_raw([["GET", "k"]] * 2000)
        bad = replies.count(b"-ERR on purpose\r\n")
        assert 400 < bad < 800, bad
        assert client("SET", "k", "v") == "OK", "only what is named"
        assert client("SIDESTREAM", "FAULT") == [b"commands=GET;share=30;error=ERR on purpose"]
        set_faults(client, "")
        assert set(client.pipeline_raw([["GET", "k"]] * 200)) == {b"$1\r\nv\r\n"}


def test_a_delay_holds_what_comes_behind_it_and_nobody_else(faulty):
    with faulty.client() as slow, faulty.client() as other:
        set_faults(other, "commands=SET;delay=700ms")
        begun = time.monotonic()
        for words in (["SET", "a", "1"], ["GET", "a"]):
            slow.send(*words)
        assert other("GET", "x") is None
        assert time.monotonic() - begun < 0.7, "the other client was not delayed"
        assert (slow.read(), slow.read()) == ("OK", b"1")
        assert time.monotonic() - begun >= 0.7


def test_all_commands_and_transactions(faulty):
    with faulty.client() as client:
        set_faults(client, "commands=INCR;error=BUSY on purpose")
        assert client("MULTI") == "OK"
        assert client.raw("INCR", "n").startswith(b"-BUSY")
        assert client.raw("EXEC").startswith(b"-EXECABORT")
        set_faults(client, "share=100;error=ERR all")
        assert client.raw("GET", "k") == client.raw("PING") == b"-ERR all\r\n"


@pytest.mark.parametrize("text", ["commands=GET", "share=10", "delay=soon", "share=200;delay=1ms", "nonsense", "x=1"])
def test_what_is_no_fault_is_refused(faulty, text):
    with faulty.client() as client:
        assert b"wanted commands=NAME" in client.raw("CONFIG", "SET", "faults", text)


def test_links_are_cut_and_come_back(faulty):
    partial = faulty.counters()["partial_syncs"], faulty.counters()["upstream_partial_syncs"]
    with faulty.client() as client:
        assert client("SIDESTREAM", "FAULT", "CUT", "REPLICAS") == "OK"
        assert client("SIDESTREAM", "FAULT", "CUT", "UPSTREAM") == "OK"
    wait_for(lambda: faulty.counters()["partial_syncs"] > partial[0], 20, "the replica")
    wait_for(lambda: faulty.counters()["upstream_partial_syncs"] > partial[1], 20, "the upstream")
    faulty.wait_online()


def replica_of(instance):
    return next(node for node in instance.status()["nodes"] if node["role"] == "replica")


def test_a_throttled_replica_lags_and_catches_up_when_it_is_lifted(faulty):
    full = faulty.counters()["full_syncs"]
    slow = replica_of(faulty)["address"]
    with faulty.client() as client:
        assert client("SIDESTREAM", "FAULT", "THROTTLE", slow, "4kb") == "OK"
        assert client("SIDESTREAM", "FAULT") == [f"throttle {slow} 4096".encode()]
        for number in range(10):
            client("SET", f"k:{number}", "x" * 20_000)
        assert client("SET", "last", "v") == "OK"
        wait_for(lambda: 0 < replica_of(faulty)["lag_bytes"] < 195_000, 20, "it to get some of it, not all")
        assert client("SIDESTREAM", "FAULT", "CUT", "REPLICAS") == "OK"
        wait_for(lambda: replica_of(faulty)["state"] == "online", 20, "it to be back")
        assert replica_of(faulty)["lag_bytes"] > 0, "throttled also on its next link"
        assert client("GET", "last") == b"v", "it is read where it is"
        assert client("SIDESTREAM", "FAULT", "THROTTLE", slow, 0) == "OK"
        wait_for(lambda: replica_of(faulty)["lag_bytes"] == 0, 10, "it to catch up: at that pace it took 40 s")
        assert client("SIDESTREAM", "FAULT") == []
    assert faulty.counters()["full_syncs"] == full


def test_a_throttled_upstream_makes_the_whole_instance_lag(lab, binary):
    primary, node = lab.servers(2)
    below = lab.instance([node], replicaof=primary, fault_injection=True)
    below.wait_link()
    syncs = below.counters()["upstream_full_syncs"], below.counters()["upstream_partial_syncs"]
    with below.client() as client:
        assert client("SIDESTREAM", "FAULT", "THROTTLE", "upstream", 4000) == "OK"
        for number in range(10):
            primary("SET", f"k:{number}", "x" * 10_000)
        wait_for(lambda: 0 < primary.offset() - below.offset() < 100_000, 10, "some of it to arrive")
        assert node("EXISTS", "k:9") == 0
        assert client("SIDESTREAM", "FAULT", "THROTTLE", "UPSTREAM", 0) == "OK"
    wait_for(lambda: node("EXISTS", "k:9") == 1, 10, "the rest: at that pace it took 25 s")
    assert syncs == (below.counters()["upstream_full_syncs"], below.counters()["upstream_partial_syncs"])


@pytest.mark.parametrize("words, said", [
    (("UPSTREAM", "fast"), b"wanted bytes per second"), (("UPSTREAM", -1), b"wanted bytes"),
    (("10.9.9.9:1", 5), b"no replica 10.9.9.9:1 is attached"), (("UPSTREAM",), b"wanted FAULT")])
def test_a_throttle_that_makes_no_sense_is_refused(faulty, words, said):
    assert said in faulty.raw("SIDESTREAM", "FAULT", "THROTTLE", *words)
