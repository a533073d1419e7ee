"""FAILOVER: its words, targets that do not get level, and clients that are in the middle of something. That writers
notice nothing is in test_switches.py."""

import threading

import pytest

from harness import HOST, parse_info, stays, wait_converged, wait_for
from layouts import LAYOUTS, Sidecars
from resp_client import RespClient, same_reply
from writers import Writers


@pytest.fixture(params=LAYOUTS)
def layout(lab, binary, request):
    return LAYOUTS[request.param](lab)


# --- orders, as stock takes them ----------------------------------------------------------------------------

ALONE = [("FAILOVER",), ("FAILOVER", "ABORT"), ("FAILOVER", "TO"), ("FAILOVER", "TO", "h"),
         ("FAILOVER", "TO", "h", "1"), ("FAILOVER", "TIMEOUT", "x"), ("FAILOVER", "TIMEOUT", "0"),
         ("FAILOVER", "TIMEOUT", "-1"),
         ("FAILOVER", "FORCE"), ("FAILOVER", "TO", "h", "x"), ("FAILOVER", "ABORT", "TO", "h", "1"), ("FAILOVER", "x"),
         ("FAILOVER", "TO", "h", "1", "FORCE", "TIMEOUT", "10"), ("FAILOVER", "TIMEOUT", "5", "TIMEOUT", "5"),
         ("FAILOVER", "FORCE", "FORCE"), ("failover", "abort", "abort")]
WITH_REPLICA = ALONE[1:8] + [("FAILOVER", "FORCE"), ("FAILOVER", "TIMEOUT", "5", "FORCE"),
                             ("FAILOVER", "TO", HOST, "1"), ("FAILOVER", "TO", "h", "-1"),
                             ("FAILOVER", "FORCE", "TO", HOST, "1")]


def test_texts_without_replicas(lab, front):
    stock = lab.server(name="lone")
    for command in ALONE:
        same_reply(stock.client(), front[0].client(), *command)


def test_texts_with_a_replica_and_as_one(lab, binary):
    node, stock, other, below = lab.servers(4)
    instance = lab.instance([node])
    other.replicaof(stock)
    below.replicaof(instance)
    for server in (other, below):
        server.wait_link()
    wait_for(lambda: "state=online" in instance.info().get("slave0", ""), 10, "the replica in INFO")
    wait_for(lambda: "state=online" in stock.info().get("slave0", ""), 10, "the replica in INFO")
    for command in WITH_REPLICA:
        same_reply(stock.client(), instance.client(), *command)
    assert instance.info()["master_failover_state"] == "no-failover"
    instance("REPLICAOF", HOST, stock.port)
    for command in ALONE:
        same_reply(other.client(), instance.client(), *command)


def test_refused_on_the_service_port(lab, binary):
    from harness import free_port
    service = free_port()
    lab.instance(lab.servers(2), service_listen=f"{HOST}:{service}")
    with RespClient(service) as client:
        assert client.raw("FAILOVER").startswith(b"-ERR FAILOVER is refused on this port")


# --- a target that does not get level --------------------------------------------------------------------------------

@pytest.fixture
def lagging(lab, binary):
    """(instance, its node, a stock replica that has stopped)"""
    node, below = lab.servers(2)
    instance = lab.instance([node])
    below.replicaof(instance)
    below.wait_link()
    wait_for(lambda: "state=online" in instance.info().get("slave0", ""), 10, "the replica in INFO")
    below.pause()
    instance("SET", "ahead", "yes")
    return instance, node, below


def test_abort_puts_everything_back(lagging):
    instance, node, below = lagging
    replid = instance.replid()
    with Writers([instance.port], count=2) as writers:
        assert instance("FAILOVER", "TO", HOST, below.port) == "OK"
        assert instance.info()["master_failover_state"] == "waiting-for-sync"
        assert instance.raw("FAILOVER") == b"-ERR FAILOVER already in progress.\r\n"
        assert instance.raw("REPLICAOF", HOST, below.port) == b"-ERR REPLICAOF not allowed while failing over.\r\n"
        assert instance.raw("REPLICAOF", "NO", "ONE") == b"-ERR REPLICAOF not allowed while failing over.\r\n"
        writers.go_on(5)  # pauses, not errors
        assert instance("FAILOVER", "ABORT") == "OK"
        assert instance.info()["master_failover_state"] == "no-failover"
        writers.go_on(5)
        below.resume()
        assert instance.raw("FAILOVER", "ABORT") == b"-ERR No failover in progress.\r\n"
    writers.verify(node)
    assert instance.info()["role"] == "master" and instance.replid() == replid
    wait_converged(node, [below])


def test_timeout_gives_up(lagging):
    instance, node, below = lagging
    assert instance("FAILOVER", "TO", HOST, below.port, "TIMEOUT", 300) == "OK"
    wait_for(lambda: instance.info()["master_failover_state"] == "no-failover", 10, "the end of it")
    assert instance.info()["role"] == "master" and instance("SET", "k", "v") == "OK"
    assert instance.counters()["failovers"] == 0


def test_a_target_that_catches_up_takes_over(lagging):
    instance, node, below = lagging
    assert instance("FAILOVER") == "OK"
    stays(lambda: instance.info()["master_failover_state"] == "waiting-for-sync", 0.5, "waiting")
    assert instance("GET", "ahead") == b"yes", "reads go on"
    below.resume()
    wait_for(lambda: instance.info()["master_failover_state"] == "no-failover", 20, "the switch")
    assert (below.role(), instance.info()["role"]) == ("master", "slave")
    assert instance.counters()["failovers"] == 1 and instance("SET", "k", "v") == "OK"
    assert below("GET", "ahead") == b"yes" and below("GET", "k") == b"v"


def test_the_role_survives_a_restart(lab, binary):
    layout = Sidecars(lab)
    layout.settled()
    layout.switch(0)
    for front in layout.fronts:
        front.kill()
    for front in layout.fronts:
        front.start().wait_up()
    layout.settled()
    assert [front.info()["role"] for front in layout.fronts] == ["slave", "master"]
    assert layout.fronts[0]("SET", "k", "v") == "OK" and layout.nodes[1]("GET", "k") == b"v"


# --- clients that are in the middle of something --------------------------------------------------------------------

def switch_once(layout):
    layout.settled()
    layout.switch(0)


def test_a_blocked_client_waits_on_at_the_new_primary(layout):
    layout.settled()
    clients = [RespClient(port, timeout=20) for port in layout.ports]
    for number, client in enumerate(clients):
        client.send("BLPOP", f"queue:{number}", 0)
    wait_for(lambda: layout.primary().info("clients")["blocked_clients"] == str(len(clients)), 10, "all blocked")
    layout.switch(0)
    wait_for(lambda: layout.primary().info("clients")["blocked_clients"] == str(len(clients)), 10, "blocked again")
    for number, client in enumerate(clients):
        with RespClient(layout.ports[0]) as pusher:
            pusher("RPUSH", f"queue:{number}", "job")
        assert client.read() == [f"queue:{number}".encode(), b"job"]
        assert client("PING") == "PONG"
        assert layout.primary()("LLEN", f"queue:{number}") == 0
        client.close()


def test_subscribers_and_monitors_miss_nothing(layout):
    layout.settled()
    with RespClient(layout.ports[0], timeout=20) as subscriber, RespClient(layout.ports[0], timeout=20) as monitor, \
            RespClient(layout.ports[-1], timeout=20) as publisher:
        assert subscriber("SUBSCRIBE", "news") == [b"subscribe", b"news", 1]
        assert subscriber("PSUBSCRIBE", "n*") == [b"psubscribe", b"n*", 2]
        assert monitor("MONITOR") == "OK"
        publisher("PUBLISH", "news", "before")
        layout.switch(0)
        for number in range(5):
            publisher("PUBLISH", "news", number)
        heard = [subscriber.read() for _ in range(12)]
        assert [m[-1] for m in heard if m[0] == b"message"] == [b"before", b"0", b"1", b"2", b"3", b"4"]
        assert [m[-1] for m in heard if m[0] == b"pmessage"] == [b"before", b"0", b"1", b"2", b"3", b"4"]
        assert subscriber("UNSUBSCRIBE", "news") == [b"unsubscribe", b"news", 1]
        seen = ""
        while '"4"' not in seen:
            seen = monitor.read()
        assert "PUBLISH" in seen


def test_transactions_end_honestly(layout):
    """A watched key may have been touched: EXEC does nothing. What was queued at the former primary is refused."""
    layout.settled()
    port = layout.ports[0]
    with RespClient(port) as watcher, RespClient(port) as queued, RespClient(port) as begun, RespClient(port) as done:
        assert watcher("WATCH", "k") == "OK"
        assert [queued("MULTI"), queued("INCR", "n")] == ["OK", "QUEUED"]
        assert begun("MULTI") == "OK"
        layout.switch(0)
        assert [watcher("MULTI"), watcher("SET", "k", "v"), watcher("EXEC")] == ["OK", "QUEUED", None]
        assert queued.raw("EXEC").startswith(b"-EXECABORT")
        assert queued.pipeline([("MULTI",), ("INCR", "n"), ("EXEC",)])[-1] == [1]
        assert [begun("INCR", "m"), begun("EXEC")] == ["QUEUED", [1]], "nothing was at the former primary yet"
        assert done("INCR", "n") == 2


def test_the_node_of_a_primary_is_never_listed_as_its_replica(lab, binary):
    """Not for the moment either in which it is demoted and its instance still leads: Sentinel would never forget it."""
    layout = Sidecars(lab)
    layout.settled()
    nodes, stopped, seen = {str(node.port) for node in layout.nodes}, threading.Event(), []

    def look(front):
        with front.client(timeout=30) as client:
            while not stopped.is_set():
                info = parse_info(client("INFO", "replication"))
                seen.extend(line for field, line in info.items() if field.startswith("slave") and "port=" in line)
    watchers = [threading.Thread(target=look, args=(front,)) for front in layout.fronts]
    for watcher in watchers:
        watcher.start()
    for number in range(6):
        layout.switch(number)
        layout.settled()
    stopped.set()
    for watcher in watchers:
        watcher.join(30)
    assert seen and not [line for line in seen if line.split("port=")[1].split(",")[0] in nodes]
