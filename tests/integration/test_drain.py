"""The way out: not ready at once, the primary's role handed over, clients finished, exit 0."""

import signal
import subprocess
import urllib.error
import urllib.request

import pytest

from harness import BINARY, HOST, wait_for
from resp_client import ReplyError
from layouts import Sidecars
from writers import Writers


def ask(instance, path, method="GET"):
    request = urllib.request.Request(f"http://{HOST}:{instance.admin_port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def by_signal(instance):
    instance.signal(signal.SIGTERM)


def by_command(instance):
    assert subprocess.run([BINARY, "drain", "--admin", f"{HOST}:{instance.admin_port}", "--wait", "20s"],
                          timeout=60).returncode == 0


def by_http(instance):
    assert ask(instance, "/api/v1/drain", "POST") == 202


def by_redis(instance):
    assert instance("SIDESTREAM", "DRAIN") == "OK"


@pytest.mark.parametrize("ask_to_go", [by_signal, by_command, by_http, by_redis])
def test_the_role_is_handed_over(lab, binary, ask_to_go):
    """Clients of the other instance notice nothing; nothing that anybody was promised is lost."""
    pair = Sidecars(lab)
    pair.settled()
    going, staying = pair.fronts
    with going.client(timeout=30) as client, Writers([staying.port], count=4) as writers:
        writers.go_on(5)
        written = 0
        ask_to_go(going)
        try:
            while True:
                assert client("INCR", "mine") == written + 1
                written += 1
        except (OSError, ReplyError):
            pass
        assert going.process.wait(30) == 0
        assert staying.info()["role"] == "master"
        writers.go_on(5)
    writers.verify(pair.nodes[1])
    assert int(staying("GET", "mine") or 0) in (written, written + 1), "the last one had no answer"


def test_not_ready_at_once_and_clients_are_accepted_for_a_while(lab, binary):
    instance = lab.instance([lab.server()], drain={"grace": "1500ms"})
    assert ask(instance, "/readyz") == 200
    by_http(instance)
    assert ask(instance, "/readyz") == 503 and ask(instance, "/livez") == 200
    assert instance("SET", "k", "v") == "OK", "a new client is served"
    assert instance.process.wait(30) == 0


def test_what_is_in_flight_is_finished(lab, binary):
    node = lab.server()
    instance = lab.instance([node])
    with instance.client(timeout=20) as blocked, instance.client(timeout=20) as queued, instance.client() as idle:
        blocked.send("BLPOP", "queue", 0)
        assert [queued("MULTI"), queued("INCR", "n")] == ["OK", "QUEUED"]
        idle("PING")
        wait_for(lambda: node.info("clients")["blocked_clients"] == "1", 10, "BLPOP to block")
        by_signal(instance)
        idle.read_until_close()
        assert queued("EXEC") == [1]
        node("RPUSH", "queue", "job")
        assert blocked.read() == [b"queue", b"job"]
        assert instance.process.wait(30) == 0


def test_a_client_that_never_finishes_is_closed_in_the_end(lab, binary):
    instance = lab.instance([lab.server()], drain={"timeout": "500ms"})
    with instance.client(timeout=20) as blocked:
        blocked.send("BLPOP", "queue", 0)
        by_signal(instance)
        blocked.read_until_close()
        assert instance.process.wait(30) == 0


def test_a_second_signal_ends_it_at_once(lab, binary):
    instance = lab.instance([lab.server()], drain={"grace": "1m"})
    by_signal(instance)
    wait_for(lambda: ask(instance, "/readyz") == 503, 10, "unready")
    by_signal(instance)
    assert instance.process.wait(20) == 0


def test_the_replication_of_those_below_goes_on_until_the_end(lab, binary):
    node, below = lab.servers(2)
    instance = lab.instance([node], drain={"grace": "1s"})
    below.replicaof(instance)
    below.wait_link()
    by_http(instance)
    assert instance("SET", "k", "v") == "OK"
    wait_for(lambda: below("GET", "k") == b"v", 5, "the write below")
    assert instance.process.wait(30) == 0
    assert below.role() == "slave", "a stock replica is not made the primary unasked"


def test_a_stock_replica_takes_over_where_that_is_wanted(lab, binary):
    node, below = lab.servers(2)
    instance = lab.instance([node], drain={"hand-over": "replica"})
    below.replicaof(instance)
    below.wait_link()
    instance("SET", "k", "v")
    wait_for(lambda: "state=online" in instance.info().get("slave0", ""), 10, "the replica in INFO")
    by_signal(instance)
    assert instance.process.wait(30) == 0
    assert below.role() == "master" and below("GET", "k") == b"v"


def test_others_below_are_told_where_the_primary_is(lab, binary):
    pair = Sidecars(lab)
    pair.settled()
    third = lab.instance(lab.servers(1), replicaof=pair.fronts[0])
    third.wait_link()
    by_signal(pair.fronts[0])
    assert pair.fronts[0].process.wait(30) == 0
    heir = next(front for front in (pair.fronts[1], third) if front.info()["role"] == "master")
    other = third if heir is pair.fronts[1] else pair.fronts[1]
    wait_for(lambda: other.info()["role"] == "slave" and other.info()["master_port"] == str(heir.port), 20, "the heir")
    other.wait_link()
    assert other("SET", "k", "v") == "OK" and heir("GET", "k") == b"v"
