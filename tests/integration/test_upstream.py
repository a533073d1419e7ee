"""The upstream side against real servers: cuts, restarts, loading, refusals, authentication, timeouts, promotion.

Layout of most tests: a stock primary, a fault proxy, an instance that follows the primary through it, and the
instance's own node, which follows the instance. "Nothing happened" is read from the node: its link stayed, or it
resynced partially, never fully.
"""

import pytest

from fault_proxy import FaultProxy, refused_port
from harness import HOST, server_binaries, server_version, stays, wait_converged, wait_for
from load import Load, fill


def chain(lab, primary, node_options=None, **config):
    """(proxy, instance, node): primary <- proxy <- instance <- node."""
    proxy = lab.closing(FaultProxy(primary.port))
    node = lab.server(name="node", **(node_options or {}))
    instance = lab.instance([node], replicaof=f"{HOST}:{proxy.port}", **config)
    instance.wait_link()
    return proxy, instance, node


def full_syncs(instance):
    counters = instance.counters()
    return counters["full_syncs"] + counters["upstream_full_syncs"]


def test_link_cuts_cost_a_partial_resync_and_nobody_below_notices(lab, binary):
    primary = lab.server(name="primary", repl_backlog_size="64mb", repl_ping_replica_period=3600)
    fill(primary.client(), megabytes=1)
    proxy, instance, node = chain(lab, primary)
    full, partial = full_syncs(instance), instance.counters()["partial_syncs"]
    with Load(primary.port) as load:
        for round_number in range(1, 6):
            before = load.operations
            proxy.cut()
            wait_for(lambda: load.operations > before + 5, 20, "load after the cut")
            wait_for(lambda n=round_number: instance.counters()["upstream_partial_syncs"] >= n and instance.link_up(),
                     10, f"partial resync {round_number}")
    wait_converged(primary, [node])
    assert full_syncs(instance) == full
    assert instance.counters()["partial_syncs"] == partial, "the node's own link has to survive"
    wait_for(lambda: instance.offset() == primary.offset(), 10, "the instance to be level")


@pytest.mark.parametrize("how", ["clean", "killed"])
def test_upstream_restart(lab, binary, how):
    """A primary that saved continues its history; one that was killed comes back with an older file and no id."""
    primary = lab.server(name="primary")
    primary("SET", "k", "v")
    _, instance, node = chain(lab, primary, repl_backlog_size="16mb")
    primary("SET", "k2", "v2")
    wait_converged(primary, [node])
    full, node_full = full_syncs(instance), instance.counters()["full_syncs"]
    if how == "clean":
        with primary.client() as client:
            client.send("SHUTDOWN", "SAVE")
            client.read_until_close()
        primary.process.wait(15)
    else:
        primary.save()
        primary.kill()
    wait_for(lambda: not instance.link_up(), 10, "the instance to see the loss")
    assert node("GET", "k2") == b"v2" and instance("GET", "k2") == b"v2", "reads go on"
    primary.start().wait_up()
    instance.wait_link(20)
    primary("SET", "k3", "v3")
    wait_converged(primary, [node], 20)
    assert node("GET", "k3") == b"v3"
    if how == "clean" and primary.version >= (7, 0, 0):
        assert full_syncs(instance) == full and instance.counters()["full_syncs"] == node_full


def test_upstream_refuses_connections(lab, binary):
    port, holder = refused_port()
    node = lab.server()
    instance = lab.instance([node], replicaof=f"{HOST}:{port}", ready=False)
    wait_for(lambda: instance.status()["upstream"]["address"] == f"{HOST}:{port}", 10, "the status to name it")
    info = instance.info()
    assert (info["role"], info["master_port"], info["master_link_status"]) == ("slave", str(port), "down")
    assert instance("ROLE")[3] in (b"connect", b"connecting")
    wait_for(lambda: "refused" in instance.log_text(), 5, "a log line about the refused connection")
    assert instance.log_text().count("refused") < 40, "no log line per retry and millisecond"
    holder.close()
    primary = lab.server(port=port)
    primary("SET", "k", "v")
    instance.wait_link(20)
    wait_for(lambda: node("GET", "k") == b"v", 10, "the node to be filled")


def test_upstream_is_loading(lab, binary):
    primary = lab.server(name="primary", key_load_delay=0)
    fill(primary.client(), megabytes=1)
    _, instance, node = chain(lab, primary)
    primary.save()
    primary.kill()
    primary.options["key-load-delay"] = 2000     # µs per key: some seconds of -LOADING
    primary.options["loading-process-events-interval-bytes"] = 1024
    primary.start()
    wait_for(lambda: primary.info("persistence")["loading"] == "1", 10, "the primary to load")
    wait_for(lambda: "LOADING" in instance.log_text(), 10, "the log to say that the primary is loading")
    assert instance.info()["master_link_status"] == "down"
    assert instance("GET", "fill:1") is not None, "reads go on meanwhile"
    primary("CONFIG", "SET", "key-load-delay", 0)
    instance.wait_link(20)
    wait_converged(primary, [node], 20)


def test_upstream_is_a_replica_without_a_primary(lab, binary):
    top, middle = lab.servers(2)
    top("SET", "k", "v")
    middle.replicaof(top)
    middle.wait_link()
    _, instance, node = chain(lab, middle)
    top.kill()
    wait_for(lambda: not middle.link_up(), 10, "the middle one to lose its primary")
    middle("CLIENT", "KILL", "TYPE", "replica")
    wait_for(lambda: "NOMASTERLINK" in instance.log_text(), 10, "the log to name the refusal")
    assert node("GET", "k") == b"v"
    full = full_syncs(instance)
    top.start().wait_up()
    top("SET", "k", "v")
    middle.wait_link()
    instance.wait_link(20)
    wait_converged(middle, [node], 20)
    assert full_syncs(instance) >= full


@pytest.mark.parametrize("user", [None, "relay"])
def test_authentication_both_ways(lab, binary, user):
    primary = lab.server(name="primary", requirepass="top")
    primary("SET", "k", "v")
    if user:
        primary("ACL", "SETUSER", user, "on", ">secret", "+psync", "+replconf", "+ping", "+info", "+role", "+command",
                "+select", "+client", "+sync", "+get", "+set", "~*", "+hello")
    password = "secret" if user else "top"
    node = lab.server(name="node", masterauth="below", **({"requirepass": password} if not user else {}))
    if user:
        node("ACL", "SETUSER", user, "on", ">secret", "allcommands", "allkeys", "allchannels")
    instance = lab.instance([node], replicaof=primary, masterauth=password, requirepass="below",
                            **({"masteruser": user} if user else {}))
    instance.wait_link()
    wait_for(lambda: node("GET", "k") == b"v", 10, "the node to be filled")
    below = lab.server(masterauth="below")
    below.replicaof(instance)
    below.wait_link()
    wait_converged(primary, [below])


def test_a_wrong_password_is_reported_and_can_be_repaired(lab, binary):
    primary, node = lab.server(requirepass="right"), lab.server(requirepass="right")
    primary("SET", "k", "v")
    instance = lab.instance([node], replicaof=primary, masterauth="wrong", ready=False)
    wait_for(lambda: "WRONGPASS" in instance.log_text(), 10, "the log to say why")
    stays(lambda: not instance.link_up(), 0.5, "no link without the password")
    assert len([line for line in instance.log_text().splitlines() if "WRONGPASS" in line]) < 40
    assert instance("CONFIG", "SET", "masterauth", "right") == "OK"
    instance.wait_link(20)
    wait_for(lambda: node("GET", "k") == b"v", 20, "the node to be filled")


def test_a_silent_upstream_is_left_after_repl_timeout(lab, binary):
    primary = lab.server(name="primary", repl_ping_replica_period=1, repl_backlog_size="16mb")
    proxy, instance, node = chain(lab, primary, repl_timeout=3)
    primary("SET", "k", "v")
    wait_converged_loosely(primary, node)
    connections, full = proxy.accepted, full_syncs(instance)
    proxy.stall("down")
    primary("SET", "k", "v2")
    wait_for(lambda: proxy.accepted > connections, 15, "a new connection after repl-timeout")
    proxy.resume()
    instance.wait_link(20)
    wait_for(lambda: node("GET", "k") == b"v2", 10, "the missed write")
    assert full_syncs(instance) == full


def wait_converged_loosely(primary, node):
    """Equal data: where PINGs go on, offsets never stand still."""
    wait_for(lambda: primary.digest() == node.digest(), 15, "equal digests")


def test_a_quiet_upstream_is_not_silent(lab, binary):
    """PINGs come more often than repl-timeout: the link stays."""
    primary = lab.server(name="primary", repl_ping_replica_period=1)
    proxy, instance, _ = chain(lab, primary, repl_timeout=3)
    accepted = proxy.accepted
    stays(instance.link_up, 4.5, "the link of a quiet upstream")
    assert proxy.accepted == accepted


def test_promoted_upstream(lab, binary):
    """The upstream is promoted: +CONTINUE with a new id, also for everybody below, and no full resync."""
    top = lab.server(name="top", repl_ping_replica_period=3600)
    fill(top.client(), megabytes=1)
    middle = lab.server(name="middle", repl_backlog_size="16mb", repl_ping_replica_period=3600)
    middle.replicaof(top)
    middle.wait_link()
    _, instance, node = chain(lab, middle)
    wait_converged(top, [middle, node])
    old, full = instance.replid(), full_syncs(instance)
    middle.replicaof(None)
    middle("SET", "after", "promotion")
    wait_converged(middle, [node], 20)
    info = instance.info()
    assert info["master_replid"] == middle.replid() != old
    assert info["master_replid2"] == old
    assert info["second_repl_offset"] == middle.info()["second_repl_offset"]
    assert full_syncs(instance) == full


def test_the_instance_appears_upstream_as_one_replica(lab, binary):
    """Every connection that syncs announces the instance's own port: Sentinel would keep anything else for ever."""
    primary, node = lab.servers(2)
    fill(primary.client(), megabytes=1)
    instance = lab.instance([node], replicaof=primary)
    below = lab.server()
    below.replicaof(instance)
    below.wait_link()
    info = primary.info()
    lines = [value for name, value in info.items() if name.startswith("slave") and name[5:].isdigit()]
    assert lines and all(line.startswith(f"ip=127.0.0.1,port={instance.port},") for line in lines), lines
    below_lines = [v for n, v in instance.info().items() if n.startswith("slave") and n[5:].isdigit()]
    assert any(f"port={below.port}," in line for line in below_lines)


def rdb_version(binary):
    """The newest snapshot format that this server reads, and the one it writes."""
    if "valkey" in binary:
        return 11
    return next(rdb for since, rdb in (((7, 4), 12), ((7, 2), 11), ((7, 0), 10), ((0, 0), 9))
                if server_version(binary)[:2] >= since)


def pairs():
    """Every (upstream, downstream) whose snapshot the downstream can read."""
    binaries = server_binaries()
    return [(up, down) for up in binaries for down in binaries if rdb_version(up) <= rdb_version(down)]


@pytest.mark.parametrize("up, down", pairs(), ids=lambda path: path.rsplit("/", 1)[-1])
def test_version_matrix(lab, subject, up, down):
    """Upstream of one version, node and replica of another: full sync, stream, and a partial resync."""
    primary = lab.server(name="primary", binary=up, repl_backlog_size="32mb", repl_ping_replica_period=3600)
    fill(primary.client(), megabytes=1)
    proxy = lab.closing(FaultProxy(primary.port))
    node = lab.server(name="node", binary=down)
    middle = node
    if subject == "instance":
        middle = lab.instance([node], replicaof=f"{HOST}:{proxy.port}")
    else:
        node.replicaof(proxy)
    middle.wait_link()
    replica = lab.server(name="replica", binary=down)
    replica.replicaof(middle)
    replica.wait_link()

    def full():
        return primary.stat("sync_full") + (full_syncs(middle) if subject == "instance" else middle.stat("sync_full"))
    before_cut = full()
    with Load(primary.port, large=0) as load:
        wait_for(lambda: load.operations > 20, 20, "load")
        proxy.cut()
        before = load.operations
        wait_for(lambda: load.operations > before + 20, 20, "load after the cut")
    middle.wait_link(20)
    wait_converged(node, [replica])
    wait_for(lambda: primary.offset() == node.offset() == replica.offset(), 20, "equal offsets")
    if up == down:                           # versions may compute the digest differently
        wait_converged(primary, [node])
    assert full() == before_cut
