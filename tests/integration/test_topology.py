"""Who follows whom: nodes commanded at start, foreign data left alone, roles kept over restarts, loops refused."""

import json
import signal
import urllib.error
import urllib.request

import pytest

from harness import HOST, stays, wait_converged, wait_for
from load import fill


def follows(server, port):
    info = server.info()
    return info["role"] == "slave" and info["master_port"] == str(port) and info["master_link_status"] == "up"


def test_empty_nodes_are_made_replicas_at_start(lab, binary):
    primary, one, two = lab.servers(3, repl_ping_replica_period=3600)
    fill(primary.client(), megabytes=1)
    forks = primary.stat("total_forks")
    instance = lab.instance([one, primary, two])     # the order says nothing: the data does
    wait_converged(primary, [one, two])
    assert primary.role() == "master"
    for node in (one, two):
        assert follows(node, instance.port) or follows(node, primary.port)
    assert primary.stat("total_forks") - forks <= 2, "one for attaching, one snapshot for both"


def test_nodes_that_replicate_already_are_kept_without_a_full_resync(lab, binary):
    primary, one, two = lab.servers(3, repl_ping_replica_period=3600)
    fill(primary.client(), megabytes=1)
    for node in (one, two):
        node.replicaof(primary)
        node.wait_link()
    full = primary.stat("sync_full")
    instance = lab.instance([primary, one, two])
    primary("SET", "k", "v")
    wait_converged(primary, [one, two])
    assert instance.counters()["full_syncs"] == 0
    assert primary.stat("sync_full") - full <= 1, "the attach itself, without data"


def test_a_node_with_foreign_data_is_left_alone_and_reported(lab, binary):
    primary, foreign, empty = lab.servers(3)
    primary("SET", "k", "v")
    follower = lab.server()
    follower.replicaof(primary)
    follower.wait_link()                     # the primary is the one with a replica of its history
    foreign("SET", "precious", "data")
    instance = lab.instance([primary, follower, foreign, empty], ready=False)
    wait_for(lambda: foreign.address in instance.log_text(), 10, "the log to name the foreign node")
    stays(lambda: foreign("GET", "precious") == b"data" and foreign.role() == "master", 1.5, "left alone")
    state = next(n["state"] for n in instance.status()["nodes"] if n["address"] == foreign.address)
    assert state != "online"


def test_two_candidates_are_never_guessed_between(lab, binary):
    first, second = lab.servers(2)
    first("SET", "k", "first")
    second("SET", "k", "second")
    instance = lab.instance([first, second], ready=False)
    stays(lambda: (first("GET", "k"), second("GET", "k")) == (b"first", b"second"), 2, "both keep their data")
    assert first.role() == second.role() == "master"
    assert not instance.status()["ready"]


def test_replicaof_in_the_file(lab, binary):
    top, node = lab.servers(2)
    top("SET", "k", "v")
    for text in (f"{HOST}:{top.port}", f"{HOST} {top.port}"):
        instance = lab.instance([node], replicaof=text)
        instance.wait_link()
        wait_for(lambda: node("GET", "k") == b"v", 10, "the node to be filled")
        assert instance("CONFIG", "GET", "replicaof") == [b"replicaof", f"{HOST} {top.port}".encode()]
        instance.kill()


@pytest.mark.parametrize("how", ["terminated", "killed"])
def test_a_role_changed_at_run_time_survives_a_restart(lab, binary, how):
    top, node = lab.servers(2, repl_ping_replica_period=3600)
    top("SET", "k", "v")
    instance = lab.instance([node])
    assert instance("REPLICAOF", HOST, top.port) == "OK"
    instance.wait_link()
    wait_converged(top, [node])
    if how == "terminated":
        assert instance.terminate() == 0
    else:
        instance.kill()
    instance.start().wait_up()
    info = wait_for(lambda: instance.info(), 10, "INFO")
    assert (info["role"], info["master_port"]) == ("slave", str(top.port))
    assert "wins over" in instance.log_text() or "state" in instance.log_text()
    instance.wait_link(20)
    top("SET", "k", "v2")
    wait_converged(top, [node])
    assert instance("REPLICAOF", "NO", "ONE") == "OK"
    instance.kill()
    instance.start().wait_up().wait_online()
    assert instance.info()["role"] == "master"
    assert instance("SET", "own", "write") == "OK"


def test_forget_state_goes_back_to_the_file(lab, binary):
    first, second, node = lab.servers(3)
    instance = lab.instance([node], replicaof=first)
    instance.wait_link()
    instance("REPLICAOF", HOST, second.port)
    instance.wait_link()
    instance.terminate()
    instance.flags = ["--forget-state"]
    instance.start().wait_up()
    assert instance.info()["master_port"] == str(first.port)


def test_a_restart_costs_no_full_resync_of_nodes_and_replicas(lab, binary):
    top, node, below = lab.servers(3, repl_ping_replica_period=3600)
    fill(top.client(), megabytes=1)
    instance = lab.instance([node], replicaof=top)
    instance.wait_link()
    below.replicaof(instance)
    below.wait_link()
    wait_converged(top, [node, below])
    full = top.stat("sync_full")
    instance.terminate()
    top("SET", "while", "away")
    instance.start().wait_up().wait_link(20)
    for server in (node, below):
        server.wait_link(20)
    wait_converged(top, [node, below])
    counters = instance.counters()
    assert counters["full_syncs"] == 0, "the node and the replica continue"
    assert top.stat("sync_full") - full <= 1


def test_moving_from_one_upstream_to_another_of_the_same_history(lab, binary):
    top, other, node = lab.servers(3, repl_ping_replica_period=3600, repl_backlog_size="16mb")
    fill(top.client(), megabytes=1)
    other.replicaof(top)
    other.wait_link()
    instance = lab.instance([node], replicaof=top)
    instance.wait_link()
    wait_converged(top, [node, other])
    full = instance.counters()["full_syncs"] + instance.counters()["upstream_full_syncs"]
    for station in (other, top) * 3:
        assert instance("REPLICAOF", HOST, station.port) == "OK"
        wait_for(lambda s=station: follows(instance, s.port), 15, f"the link to {station.name}")
        top("SET", "k", station.name)
        wait_converged(top, [node])
    assert instance.counters()["full_syncs"] + instance.counters()["upstream_full_syncs"] == full


def test_an_instance_does_not_follow_itself(lab, binary):
    node = lab.server()
    node("SET", "k", "v")
    instance = lab.instance([node])
    instance.raw("REPLICAOF", HOST, instance.port)
    stays(lambda: node("GET", "k") == b"v" and instance("PING") == "PONG", 1, "data and process")
    instance("REPLICAOF", "NO", "ONE")
    assert wait_for(lambda: instance("SET", "k", "v2"), 10, "writes again") == "OK"


def test_nodes_from_flags_alone(lab, binary):
    """`sidestream --node HOST:PORT` works with every other key at its default (but the ports, here)."""
    node = lab.server()
    instance = lab.instance([], start=False)
    instance.command = lambda: [str(binary), "--node", node.address, "--listen", instance.address, "--admin",
                                f"{HOST}:{instance.admin_port}", "--dir", str(instance.dir / "data")]
    instance.start().wait_up().wait_ready()
    assert instance("SET", "k", "v") == "OK" and node("GET", "k") == b"v"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(lab, binary, number):
    instance = lab.instance([lab.server()])
    with instance.client() as client:
        client("PING")
        instance.signal(number)
        assert instance.process.wait(30) == 0


def get(instance, path):
    try:
        with urllib.request.urlopen(f"http://{HOST}:{instance.admin_port}{path}", timeout=5) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_admin_endpoints(lab, binary):
    instance = lab.instance([lab.server()])
    for path in ("/livez", "/readyz", "/startupz", "/readyz?verbose", "/metrics"):
        assert get(instance, path)[0] == 200, path
    code, body = get(instance, "/api/v1/status")
    assert code == 200 and json.loads(body)["ready"] is True
    assert b"sidestream_" in get(instance, "/metrics")[1]
    code, body = get(instance, "/api/v1/config")
    assert code == 200 and b"repl-timeout" in body
    assert get(instance, "/nosuch")[0] == 404


def test_attaching_before_there_is_anything_to_attach_to(lab, binary):
    """A replica of an instance whose upstream is not there yet: it is kept waiting, then filled."""
    top = lab.server(start=False)
    node, below = lab.servers(2)
    instance = lab.instance([node], replicaof=top, ready=False)
    below.replicaof(instance)
    stays(lambda: below.info()["master_link_status"] == "down" and instance("PING") is not None, 1, "waiting")
    top.start().wait_up()
    top("SET", "k", "v")
    below.wait_link(20)
    wait_for(lambda: below("GET", "k") == node("GET", "k") == b"v", 20, "everybody to be filled")


def test_a_replica_node_that_restarts_comes_back(lab, binary):
    primary, one, two = lab.servers(3, repl_ping_replica_period=3600)
    fill(primary.client(), megabytes=1)
    instance = lab.instance([primary, one, two])
    wait_converged(primary, [one, two])
    one.kill()
    wait_for(lambda: not instance.nodes_online(), 10, "the loss to be seen")
    assert instance("SET", "while", "away") == "OK" and instance("GET", "while") == b"away"
    one.start().wait_up()
    wait_for(instance.nodes_online, 20, "the node to be online again")
    wait_converged(primary, [one, two])


def test_a_primary_node_that_restarts_with_its_data_goes_on(lab, binary):
    primary, one = lab.servers(2, repl_ping_replica_period=3600)
    fill(primary.client(), megabytes=1)
    instance = lab.instance([primary, one])
    wait_converged(primary, [one])
    with primary.client() as client:
        client.send("SHUTDOWN", "SAVE")
        client.read_until_close()
    primary.process.wait(15)
    assert one("GET", "fill:1") is not None
    primary.start().wait_up()
    assert wait_for(lambda: instance("SET", "after", "restart"), 20, "writes again") == "OK"
    wait_converged(primary, [one], 20)


def test_a_primary_node_that_restarts_empty_wipes_nobody(lab, binary):
    """wipe-guard: hold. The replicas keep their data until somebody decides."""
    primary, one = lab.servers(2)
    fill(primary.client(), megabytes=1)
    instance = lab.instance([primary, one])
    wait_for(lambda: one("GET", "fill:1") is not None, 10, "the replica to be filled")
    primary.kill()
    primary.start().wait_up()
    assert primary("DBSIZE") == 0
    stays(lambda: one("GET", "fill:1") is not None, 3, "the replica keeps its data")
    assert instance("PING") is not None


def test_replicaof_changes_faster_than_anything_can_settle(lab, binary):
    """While connecting, in the handshake, in the transfer, just connected: the last word counts."""
    tops = lab.servers(3)
    for number, top in enumerate(tops):
        top("SET", "whoami", number)
        fill(top.client(), megabytes=1)
    node = lab.server()
    instance = lab.instance([node], replicaof=tops[0])
    for turn in range(30):
        assert instance("REPLICAOF", HOST, tops[(turn + 1) % 3].port) == "OK"
        if turn % 5 == 0:
            wait_for(lambda: instance("ROLE")[3] != b"none", 5, "a state")
    assert instance("REPLICAOF", HOST, tops[1].port) == "OK"
    instance.wait_link(20)
    wait_for(lambda: node("GET", "whoami") == b"1" and node.replid() == tops[1].replid(), 30, "the last one's data")
    assert [top("GET", "whoami") for top in tops] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("between", ["instance", "stock"])
def test_a_loop_by_way_of_others_is_refused(lab, binary, between):
    """first <- middle <- last, and then the first is told to follow the last."""
    nodes = lab.servers(2)
    first = lab.instance([nodes[0]])
    assert first("SET", "k", "v") == "OK"
    if between == "instance":
        middle = lab.instance([lab.server()], replicaof=first)
    else:
        middle = lab.server()
        middle.replicaof(first)
        middle.wait_link()
    last = lab.instance([nodes[1]], replicaof=middle)
    last.wait_link()
    first("REPLICAOF", HOST, last.port)
    wait_for(lambda: "that would be a loop" in first.status()["trouble"], 20, "the reason")
    stays(lambda: not first.link_up() and [node("GET", "k") for node in nodes] == [b"v", b"v"], 1, "nobody wiped")
    assert first("REPLICAOF", "NO", "ONE") == "OK"
    wait_for(lambda: first("SET", "k", "w"), 10, "writes again")
    wait_for(lambda: nodes[1]("GET", "k") == b"w", 30, "everybody to go on")


def test_two_instances_that_follow_each_other(lab, binary):
    """A loop set up by mistake: nobody loses data, both stay usable, and it can be taken apart."""
    nodes = lab.servers(2)
    first = lab.instance([nodes[0]])
    second = lab.instance([nodes[1]], replicaof=first)
    second.wait_link()
    first("SET", "k", "v")
    wait_for(lambda: nodes[1]("GET", "k") == b"v", 10, "the write at both nodes")
    first("REPLICAOF", HOST, second.port)
    stays(lambda: [node("GET", "k") for node in nodes] == [b"v", b"v"], 2, "both keep their data")
    assert first("ROLE")[0] == b"slave" and second("ROLE")[0] == b"slave"
    assert first("REPLICAOF", "NO", "ONE") == "OK"
    wait_for(lambda: first("SET", "k", "w"), 10, "writes again")
    wait_for(lambda: nodes[1]("GET", "k") == b"w", 20, "the other side to follow")
