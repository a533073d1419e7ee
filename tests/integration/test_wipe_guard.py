"""A primary that comes back empty or far smaller under a new history: nobody behind us is wiped.

Layouts: the gateway (the primary and its replicas are nodes of the instance), the sidecar (the instance follows a
stock primary, its own node and further replicas follow the instance), each in one run and with a restart of the
instance in between; then what an operator may say: ACCEPT, REJECT, REVIVE, REPLICAOF.
"""

import json
import urllib.request

import pytest

from harness import HOST, stays, wait_converged, wait_for
from load import fill
from resp_client import ReplyError

QUIET = {"repl_ping_replica_period": 3600}


def held(instance):
    return instance.upstream_state() == "held"


def wait_held(instance):
    wait_for(lambda: held(instance), 20, f"{instance.name}: the upstream to be held")


def reborn(server, port=None):
    """Killed, its file removed, started again."""
    server.kill()
    for path in server.dir.glob("*.rdb"):
        path.unlink()
    server.start().wait_up()
    assert server("DBSIZE") == 0


def write_error(instance):
    """A write is refused so that clients try again."""
    try:
        return f"answered {instance('SET', 'new', 'write')!r}"
    except ReplyError as error:
        return str(error)


def metrics(instance):
    return urllib.request.urlopen(f"http://{HOST}:{instance.admin_port}/metrics", timeout=5).read().decode()


def gateway(lab, **config):
    primary, one, two = lab.servers(3, **QUIET)
    fill(primary.client(), megabytes=1)
    instance = lab.instance([primary, one, two], **config)
    wait_converged(primary, [one, two])
    return instance, primary, [one, two]


def sidecar(lab, **config):
    top, node, below = lab.servers(3, **QUIET)
    fill(top.client(), megabytes=1)
    instance = lab.instance([node], replicaof=top, **config)
    instance.wait_link()
    below.replicaof(instance)
    below.wait_link()
    wait_converged(top, [node, below])
    return instance, top, [node, below]


LAYOUTS = pytest.mark.parametrize("layout", [gateway, sidecar], ids=["gateway", "sidecar"])


def kept(servers, before):
    return [server.digest() for server in servers] == before


@pytest.mark.parametrize("restart", ["", "killed", "killed before"], ids=["one run", "restart", "restart before"])
@LAYOUTS
def test_a_primary_reborn_empty_wipes_nobody(lab, binary, layout, restart):
    instance, primary, replicas = layout(lab)
    before = [server.digest() for server in replicas]
    if restart == "killed before":                   # nobody was there when it happened
        wait_for(lambda: (instance.dir / "data/dataset").exists(), 10, "the instance to note what it holds")
        instance.kill()
    reborn(primary)
    if restart != "killed before":
        wait_held(instance)
    if restart == "killed":
        instance.kill()
    if restart:
        instance.start().wait_up()
        wait_held(instance)
    stays(lambda: kept(replicas, before), 1.5, "the replicas keep every key")
    assert wait_for(lambda: instance("GET", "fill:1"), 10, "a read") == replicas[0]("GET", "fill:1")
    assert write_error(instance).startswith("MASTERDOWN")
    assert primary("DBSIZE") == 0, "no write got through"
    assert kept(replicas, before) and held(instance)
    # Told everywhere, once.
    status = instance.status()
    assert "SIDESTREAM ACCEPT" in status["trouble"] and "no keys" in status["upstream"]["held"]
    assert not status["ready"]
    assert instance.info("sidestream")["sidestream_upstream_held"] == "1"
    assert "\nsidestream_upstream_held 1\n" in metrics(instance)
    assert 1 <= instance.log_text().count("no keys where ours holds") <= 4 * (1 + bool(restart))
    if layout is sidecar:
        assert instance.info()["master_link_status"] == "down" and instance("ROLE")[3] in (b"connect", b"connecting")


def test_what_only_the_lost_primary_knew_keeps_nobody_from_reading(lab, binary):
    """Writes were under way when it died, one to a key and one to any key: their marks will never be settled."""
    instance, primary, replicas = gateway(lab)
    old = replicas[0]("GET", "fill:1")
    primary.pause()
    writers = [instance.client(), instance.client()]
    writers[0].send("SET", "fill:1", "new")
    writers[1].send("EVAL", "return redis.call('set', 'fill:2', 'new')", "0")
    for key in ("fill:1", "fill:3"):
        wait_for(lambda key=key: b"): the primary" in instance("SIDESTREAM", "EXPLAIN", "GET", key), 10, "its mark")
    primary.kill()
    reborn(primary)
    wait_held(instance)
    assert wait_for(lambda: instance("GET", "fill:1"), 10, "a read") == old


@LAYOUTS
def test_accept_takes_the_empty_history(lab, binary, layout):
    instance, primary, replicas = layout(lab)
    with pytest.raises(ReplyError, match="no upstream is held"):
        instance("SIDESTREAM", "ACCEPT")
    reborn(primary)
    wait_held(instance)
    assert instance("SIDESTREAM", "ACCEPT") == "OK"
    wait_for(lambda: instance("SET", "after", "accept") == "OK", 20, "writes again")
    wait_converged(primary, replicas)
    assert [server("DBSIZE") for server in replicas] == [1, 1]
    assert instance.info("sidestream")["sidestream_upstream_held"] == "0"


def test_accept_after_a_restart(lab, binary):
    instance, primary, replicas = gateway(lab)
    instance.kill()
    reborn(primary)
    instance.start().wait_up()
    wait_held(instance)
    assert instance("SIDESTREAM", "ACCEPT") == "OK"
    wait_for(lambda: instance("SET", "after", "accept") == "OK", 20, "writes again")
    wait_converged(primary, replicas)


def test_reject_outlives_keys_and_restarts(lab, binary):
    """What was rejected is not let in when it has grown, not even by the next run."""
    instance, primary, replicas = sidecar(lab)
    before = [server.digest() for server in replicas]
    reborn(primary)
    wait_held(instance)
    assert instance("SIDESTREAM", "REJECT") == "OK"
    fill(primary.client(), megabytes=1)              # somebody writes to it directly, as much as there was
    primary("SET", "one", "more")
    stays(lambda: held(instance) and kept(replicas, before), 1.5, "rejected")
    wait_for(lambda: "rejected" in (instance.dir / "data/dataset").read_text(), 10, "the word to be kept")
    instance.kill()
    instance.start().wait_up()
    wait_held(instance)
    stays(lambda: held(instance) and kept(replicas, before), 1.5, "rejected after the restart")
    assert instance("SIDESTREAM", "ACCEPT") == "OK"
    wait_converged(primary, replicas)


def test_the_old_history_comes_back(lab, binary):
    """It recovers by itself, without a full resync: the file that holds the former history was found."""
    instance, primary, replicas = gateway(lab)
    primary.save()
    rdb = (primary.dir / "dump.rdb").read_bytes()
    reborn(primary)
    wait_held(instance)
    full = instance.counters()["full_syncs"]
    primary.kill()
    (primary.dir / "dump.rdb").write_bytes(rdb)
    primary.start().wait_up()
    wait_for(lambda: instance("SET", "after", "it") == "OK", 20, "writes again")
    wait_converged(primary, replicas)
    assert replicas[0]("GET", "fill:1") is not None
    if primary.version >= (7, 0, 0):
        assert instance.counters()["full_syncs"] == full


@LAYOUTS
def test_another_upstream_ends_it(lab, binary, layout):
    instance, primary, replicas = layout(lab)
    other = lab.server(**QUIET)
    other("SET", "other", "data")
    reborn(primary)
    wait_held(instance)
    assert instance("REPLICAOF", HOST, other.port) == "OK"
    instance.wait_link(20)
    wait_for(lambda: replicas[0]("GET", "other") == b"data", 20, "the chosen one's data")
    assert instance.info("sidestream")["sidestream_upstream_held"] == "0"


def test_a_promoted_replica_ends_it(lab, binary):
    """Gateway: somebody promotes the replica that has the data; the empty one becomes a replica itself."""
    instance, primary, replicas = gateway(lab)
    reborn(primary)
    wait_held(instance)
    assert replicas[0]("REPLICAOF", "NO", "ONE") == "OK"
    wait_for(lambda: instance("SET", "after", "promotion") == "OK", 20, "writes again")
    wait_converged(replicas[0], [primary, replicas[1]])
    assert primary("GET", "fill:1") is not None


@pytest.mark.parametrize("restart", [False, True], ids=["one run", "restart"])
def test_revive_lets_the_best_replica_lead(lab, binary, restart):
    instance, primary, replicas = gateway(lab)
    reborn(primary)
    wait_held(instance)
    if restart:
        instance.kill()
        instance.start().wait_up()
        wait_held(instance)
    with pytest.raises(ReplyError, match="wrong number"):
        instance("SIDESTREAM", "REVIVE", "now")
    with instance.client() as client:
        assert "is the primary now" in client("SIDESTREAM", "REVIVE")
    wait_for(lambda: instance("SET", "after", "revival") == "OK", 20, "writes again")
    best = next(server for server in replicas if server.role() == "master")
    wait_converged(best, [server for server in [primary, *replicas] if server is not best])
    assert primary("GET", "fill:1") is not None and primary.role() == "slave"


@pytest.mark.parametrize("disk", [0, "64mb"])
def test_revive_fills_an_upstream(lab, binary, disk):
    """Sidecar: the empty primary gets everything back and stays what it was; all that follow go on partially."""
    instance, top, replicas = sidecar(lab, repl_backlog_disk_size=disk)
    if disk:                                         # the history survives a restart
        instance.kill()
        instance.start().wait_up().wait_link(20)
    reborn(top)
    wait_held(instance)
    full = instance.counters()["full_syncs"]
    assert "has everything" in instance("SIDESTREAM", "REVIVE")
    wait_for(lambda: instance("SET", "after", "revival") == "OK", 20, "writes again")
    wait_converged(top, replicas)
    assert top("GET", "fill:1") is not None and top.role() == "master"
    assert instance.counters()["full_syncs"] - full == 1, "the upstream itself"
    with pytest.raises(ReplyError, match="nothing to revive"):
        instance("SIDESTREAM", "REVIVE")


def test_far_smaller_is_held_as_well(lab, binary):
    instance, primary, replicas = sidecar(lab)
    before = [server.digest() for server in replicas]
    primary.kill()
    for path in primary.dir.glob("*.rdb"):
        path.unlink()
    port, primary.port = primary.port, None
    spare = lab.server()
    spare("SET", "one", "key")
    spare.save()
    rdb = (spare.dir / "dump.rdb").read_bytes()
    primary.port = port
    (primary.dir / "dump.rdb").write_bytes(rdb)
    primary.start().wait_up()
    wait_held(instance)
    assert "holds 1 key where ours holds" in instance.status()["upstream"]["held"]
    stays(lambda: kept(replicas, before), 1, "the replicas keep every key")


def test_a_new_history_with_as_much_data_is_followed(lab, binary):
    """An append-only file brings the data back under a new history: a full resync, as with stock."""
    primary, one = lab.servers(2, **QUIET)
    primary("CONFIG", "SET", "appendonly", "yes")
    primary.options["appendonly"] = "yes"
    fill(primary.client(), megabytes=1)
    instance = lab.instance([primary, one])
    wait_converged(primary, [one])
    wait_for(lambda: primary.info("persistence")["aof_rewrite_in_progress"] == "0", 20, "the file")
    primary.terminate()
    primary.start().wait_up()
    wait_for(lambda: instance("SET", "after", "it") == "OK", 20, "writes again")
    wait_converged(primary, [one])
    assert one("GET", "fill:1") is not None
    assert instance.status()["upstream"]["times_held"] == 0


def test_flushall_is_no_wipe(lab, binary):
    instance, primary, replicas = gateway(lab)
    assert instance("FLUSHALL") == "OK"
    wait_converged(primary, replicas)
    assert [server("DBSIZE") for server in replicas] == [0, 0]
    reborn(primary)                                  # nothing is left to lose
    wait_for(lambda: instance("SET", "after", "it") == "OK", 20, "writes again")
    wait_converged(primary, replicas)
    assert instance.status()["upstream"]["times_held"] == 0


def test_pass_follows_as_stock_does(lab, binary):
    instance, primary, replicas = sidecar(lab, wipe_guard="pass")
    reborn(primary)
    wait_for(lambda: [server("DBSIZE") for server in replicas] == [0, 0], 20, "the replicas to be emptied")
    assert instance("CONFIG", "GET", "wipe-guard") == [b"wipe-guard", b"pass"]


def test_two_instances_hold_together(lab, binary):
    """A chain: the second instance follows the first, which holds; nobody below either is touched."""
    instance, top, replicas = sidecar(lab)
    node = lab.server(**QUIET)
    second = lab.instance([node], replicaof=instance)
    wait_converged(top, [node])
    before = [server.digest() for server in [*replicas, node]]
    reborn(top)
    wait_held(instance)
    stays(lambda: kept([*replicas, node], before), 1.5, "all keep every key")
    assert second("GET", "fill:1") is not None
    assert "has everything" in instance("SIDESTREAM", "REVIVE")
    wait_for(lambda: second("SET", "after", "revival") == "OK", 20, "writes through both")
    wait_converged(top, [*replicas, node])


def test_held_writes_of_clients_end_with_the_revival(lab, binary):
    """A patient client (hold.timeout) that wrote meanwhile is answered, nothing is lost and nothing made twice."""
    instance, primary, replicas = gateway(lab, hold={"timeout": "60s"})
    reborn(primary)
    wait_held(instance)
    with instance.client(timeout=90) as client:
        client.send("INCR", "once")
        assert "is the primary now" in instance("SIDESTREAM", "REVIVE")
        assert client.read() == 1
    assert json.loads(instance("SIDESTREAM", "STATUS"))["upstream"]["held"] == ""
