"""Stock Sentinels watch instances as if they were Redis servers: what they learn, what they are answered, whom they
promote. Each case that decides about a failover is one that was measured with a real Sentinel."""

from harness import HOST, free_port, parse_info, stays, wait_converged, wait_for
from resp_client import ReplyError, RespClient
from sentinel import NAME, NAMES, QUICKLY, Trio, follows, start_sentinels

HELLO = "__sentinel__:hello"

# What was measured with a real Sentinel 7.0, and where it is shown:
#   INFO with the lines that are parsed, numeric addresses     test_discovery, test_failover_when_the_node_dies
#   hello looped back, else the link is made anew each 15 s    test_hello_works_while_the_node_is_dead_and_stays_here
#   INFO answered with an error, or late: never                test_info_is_answered_while_the_node_hangs
#   PING: LOADING stays up, MISCONF is a failover:
#                           test_a_node_that_loads_stays_and_one_that_cannot_save_goes
#   PING: MASTERDOWN stays up                                  test_ping_of_a_replica_that_must_not_serve
#   another run_id is +reboot, nothing else                    test_another_process_is_a_reboot_and_nothing_else
#   a replica says role:master; another master_port            test_a_replica_that_was_promoted_by_hand_is_put_back,
#                                                              test_a_replica_of_the_wrong_primary_is_put_right
#   master_link_down_since_seconds: INFO each second           test_info_is_answered_while_the_node_hangs
#   a replica without a port is a phantom for ever             test_discovery; a node that is one for a moment: failover
#   the primary says role:slave                                test_the_primary_is_moved_by_hand
#   the old primary is back as a primary                       test_failover_when_the_instance_dies, test_fencing.py
# What it needs of the node port: slots beyond maxclients, answers from memory, PING as above, SLAVEOF in its
# transaction (CONFIG REWRITE, CLIENT KILL TYPE): below. The service port: test_faces.py. A start, a freeze, being cut
# off: test_fencing.py, test_partition.py.


def reconfigure(client, *target):
    """What a Sentinel sends to make an instance a primary or a replica, in one write as it does; the six replies."""
    commands = [("MULTI",), ("SLAVEOF", *target), ("CONFIG", "REWRITE"), ("CLIENT", "KILL", "TYPE", "normal"),
                ("CLIENT", "KILL", "TYPE", "pubsub"), ("EXEC",)]
    return client.pipeline(commands)


def answered(replies):
    return replies[:5] == ["OK"] + ["QUEUED"] * 4 and len(replies[5]) == 4


def test_discovery(lab, binary):
    """Replicas by their announced ports, Sentinels by each other, identities of the instances and not of the nodes."""
    trio = Trio(lab, per_instance=({}, {"replica_priority": 10}, {}))
    trio.watch(3)
    for sentinel in trio.sentinels:
        fields, replicas = sentinel.fields(), sentinel.replicas()
        assert fields["flags"] == "master" and fields["runid"] == trio.instances[0].info("server")["run_id"]
        assert set(replicas) == {instance.port for instance in trio.instances[1:]}, "the nodes are nobody's business"
        for instance in trio.instances[1:]:
            seen = replicas[instance.port]
            assert seen["flags"] == "slave" and seen["runid"] == instance.info("server")["run_id"]
            assert (seen["master-host"], seen["master-port"]) == (HOST, str(trio.instances[0].port))
        assert replicas[trio.instances[1].port]["slave-priority"] == "10"
        assert {s["port"] for s in map(_words, sentinel.ask("SENTINELS", NAME))} == \
               {str(s.port) for s in trio.sentinels if s is not sentinel}
    # A tool that reads the stream without a port of its own is no replica to anybody.
    with trio.instances[0].client() as tool:
        tool.send("SYNC")
        stays(lambda: all(0 not in s.replicas() for s in trio.sentinels), 1.5, "no phantom replica")


def _words(flat):
    words = [word.decode() for word in flat]
    return dict(zip(words[::2], words[1::2]))


def test_hello_works_while_the_node_is_dead_and_stays_here(lab, binary):
    trio = Trio(lab)
    for node in trio.nodes[:2]:
        node.kill()
    first, second = trio.instances[:2]
    with first.client() as here, second.client() as there, first.client() as speaker:
        for listener in (here, there):
            assert listener("SUBSCRIBE", HELLO) == [b"subscribe", HELLO.encode(), 1]
        payload = f"127.0.0.1,5000,{'a' * 40},1,{NAME},127.0.0.1,6379,0".encode()
        assert speaker("PUBLISH", HELLO, payload) == 1
        assert here.read() == [b"message", HELLO.encode(), payload]
        assert there.silent_for(0.3), "a message to one server"
        here.send("PUBLISH", HELLO, payload)
        assert here.read_raw().startswith(b"-ERR Can't execute 'publish'")


def test_the_reconfiguration_is_answered_while_the_node_is_dead(lab, binary):
    trio = Trio(lab)
    first, second, third = trio.instances
    trio.nodes[0].kill()
    wait_for(lambda: "down" in str(first.status()["nodes"]), 10, "the node to be missed")
    bystander, listener = first.client(), first.client()
    listener("SUBSCRIBE", HELLO)
    with first.client() as sentinel:
        assert answered(reconfigure(sentinel, HOST, second.port))
        assert sentinel("CLIENT", "SETNAME", "x") == "OK", "it does not close itself"
        role = parse_info(sentinel("INFO"))
        assert (role["role"], role["master_host"], role["master_port"]) == ("slave", HOST, str(second.port))
        assert reconfigure(sentinel, HOST, second.port)[5][0] == "OK Already connected to specified master"
    for client in (bystander, listener):
        assert client.read_until_close() == b""
    first.kill()
    first.config["replicaof"] = f"{HOST}:{third.port}"
    first.start().wait_up()
    assert first.info()["master_port"] == str(second.port), "the role that was given is kept, also against the file"


def test_applications_on_the_service_port_keep_their_connections(lab, binary):
    """They see a primary everywhere, so that the role moves is no news to them."""
    port = free_port()
    trio = Trio(lab, per_instance=({}, {"service_listen": f"{HOST}:{port}"}, {}))
    second = trio.instances[1]
    with RespClient(port) as application, second.client() as other, second.client() as sentinel:
        assert application("SET", "k", "1") == "OK"
        assert answered(reconfigure(sentinel, "NO", "ONE"))
        assert other.read_until_close() == b""
        assert application("SET", "k", "2") == "OK" and trio.nodes[1]("GET", "k") == b"2"


def test_a_dead_node_cannot_be_promoted_and_says_so(lab, binary):
    trio = Trio(lab)
    second = trio.instances[1]
    assert second.info()["slave_priority"] == "100"
    trio.nodes[1].kill()
    wait_for(lambda: second.info()["slave_priority"] == "0", 10, "priority 0: Sentinel must not choose it")
    with second.client() as sentinel:
        replies = reconfigure(sentinel, "NO", "ONE")
        assert replies[:5] == ["OK"] + ["QUEUED"] * 4 and len(replies[5]) == 4
        assert isinstance(replies[5][0], ReplyError) and str(trio.nodes[1].port) in str(replies[5][0])
        assert parse_info(sentinel("INFO"))["role"] == "slave"
    trio.nodes[1].start().wait_up()
    wait_for(lambda: second.info()["slave_priority"] == "100", 20, "the node to be a candidate again")


def ping(instance):
    with instance.client() as client:
        return client.raw("PING")


def test_ping_tells_the_health_of_the_node(lab, binary):
    trio = Trio(lab, node_options={"stop_writes_on_bgsave_error": "yes"})
    first, second = trio.instances[:2]
    node = trio.nodes[0]
    assert ping(first) == b"+PONG\r\n" == ping(second)
    node("CONFIG", "SET", "save", "3600 100000")  # MISCONF is said only where snapshots are wanted
    node("SET", "k", "v")
    (node.dir / "dump.rdb").mkdir()  # in the way
    node("BGSAVE")
    wait_for(lambda: node.info("persistence")["rdb_last_bgsave_status"] == "err", 10, "a failed save")
    wait_for(lambda: ping(first).startswith(b"-MISCONF"), 10, "the node's own words")
    node("CONFIG", "SET", "save", "")
    wait_for(lambda: ping(first) == b"+PONG\r\n", 10, "health again")
    node.pause()
    assert ping(first) == b"+PONG\r\n", "a grace for a node that is slow"
    wait_for(lambda: ping(first).startswith(b"-ERR"), 10, "an error that Sentinel counts as down")
    node.resume()
    wait_for(lambda: ping(first) == b"+PONG\r\n", 10, "health again")
    node.kill()
    wait_for(lambda: ping(first).startswith(b"-ERR"), 10, "the same for a dead one")


def test_info_is_answered_while_the_node_hangs(lab, binary):
    """A Sentinel waits for it in front of its PING. Role before all that depends on it, identity of the instance."""
    top, node = lab.servers(2)
    instance = lab.instance([node], replicaof=top)
    instance.wait_link()
    usual, own = parse_info(instance("INFO")), node.info("server")["run_id"]
    node.pause()
    for _ in range(20):
        with instance.client(timeout=2) as sentinel:
            lines = parse_info(sentinel("INFO"))
        assert set(usual) <= set(lines), "a line that is missing would mean: unchanged"
        assert lines["run_id"] == usual["run_id"] != own and lines["tcp_port"] == str(instance.port)
    fields = list(lines)
    assert all(fields.index("role") < fields.index(name) for name in
               ("master_host", "master_port", "master_link_status", "slave_repl_offset", "slave_priority"))
    top.kill()
    wait_for(lambda: instance.info()["master_link_status"] == "down", 10, "the link to be missed")
    assert int(instance.info()["master_link_down_since_seconds"]) >= 0, "asked every second from now on"
    node.resume()


def test_ping_of_a_replica_that_must_not_serve(lab, binary):
    top, node = lab.servers(2)
    instance = lab.instance([node], replicaof=top, replica_serve_stale_data=False)
    instance.wait_link()
    assert ping(instance) == b"+PONG\r\n"
    top.kill()
    wait_for(lambda: ping(instance) == b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to "
                                       b"'no'.\r\n", 10, "stock's words, which Sentinel takes for alive")
    instance("CONFIG", "SET", "replica-serve-stale-data", "yes")
    assert ping(instance) == b"+PONG\r\n"


def test_slots_for_sentinels_are_kept_beyond_maxclients(lab, binary):
    trio = Trio(lab)
    trio.watch(1)
    first = trio.instances[0]
    first("CONFIG", "SET", "maxclients", 10)
    crowd = [lab.closing(RespClient(first.port)) for _ in range(10)]
    refused = 0
    for client in crowd:
        try:
            refused += client.raw("GET", "k").startswith(b"-ERR max number of clients")
        except OSError:
            refused += 1
    assert refused > 0, "applications are bounded"
    newcomer = start_sentinels(lab, 1, (HOST, first.port), quorum=2)[0]
    wait_for(lambda: len(newcomer.replicas()) == 2 and newcomer.fields()["flags"] == "master", 10, "a new Sentinel")
    wait_for(lambda: newcomer.fields()["num-other-sentinels"] == "1", 10, "the Sentinels to meet")
    with first.client() as sentinel:
        assert answered(reconfigure(sentinel, HOST, trio.instances[1].port))


def test_failover_when_the_node_dies(lab, binary):
    """Everybody keeps his connection but those at the instance that Sentinel kicks, and nobody is refused."""
    trio = Trio(lab).watch(3)
    first = trio.instances[0]
    first("SET", "before", "1")
    assert first("WAIT", 2, 5000) == 2
    fulls = [node.stat("sync_full") for node in trio.nodes]
    trio.nodes[0].kill()
    primary = trio.switched()
    trio.settled(primary, replicas=[i for i in trio.instances if i is not first])
    assert wait_for(lambda: primary("SET", "after", "1"), 10, "the first write") == "OK"
    assert [n.stat("sync_full") for n in trio.nodes[1:]] == fulls[1:], "survivors go on by partial resync"
    trio.nodes[0].start().wait_up()
    wait_for(lambda: follows(first, primary), 30, "the old primary to come back as a replica")
    node = trio.nodes[trio.instances.index(primary)]
    wait_converged(node, [n for n in trio.nodes if n is not node])
    assert wait_for(lambda: first("SET", "through", "the old one"), 10, "a write through the old one") == "OK"
    assert node("GET", "through") == b"the old one"
    for sentinel in trio.sentinels:
        wait_for(lambda s=sentinel: s.fields()["flags"] == "master" and
                 set(s.replicas()) == {i.port for i in trio.instances if i is not primary}, 20, "peace")


def test_failover_when_the_instance_dies(lab, binary):
    """The old one is made a replica when it is back, and its Sentinel-given role outlives the next restart."""
    trio = Trio(lab).watch(3)
    first = trio.instances[0]
    survivors = trio.instances[1:]
    connected = [instance.client(timeout=20) for instance in survivors]
    first.kill()
    primary = trio.switched()
    trio.settled(primary, replicas=survivors)
    for client, instance in zip(connected, survivors):
        if instance is not primary:
            continue  # Sentinel kicks the clients of those whose role it changes
        with instance.client() as again:
            assert wait_for(lambda c=again: c("SET", "k", "v"), 10, "a write") == "OK"
    first.start().wait_up()
    wait_for(lambda: follows(first, primary), 40, "the old primary to be made a replica")
    wait_converged(trio.nodes[trio.instances.index(primary)],
                   [n for n, i in zip(trio.nodes, trio.instances) if i is not primary])
    first.kill()
    first.start().wait_up()
    assert first.info()["role"] == "slave" and first.info()["master_port"] == str(primary.port)


def test_priority_decides_and_zero_is_never_chosen(lab, binary):
    trio = Trio(lab, per_instance=({}, {"replica_priority": 0}, {"replica_priority": 50})).watch(1)
    trio.instances[0].kill()
    assert trio.switched() is trio.instances[2]


def test_a_node_that_loads_stays_and_one_that_cannot_save_goes(lab, binary):
    """-LOADING is alive for Sentinel, -MISCONF is not: that is how it replaces a primary whose disk is broken."""
    trio = Trio(lab, node_options={"loading_process_events_interval_bytes": 2048, "key_load_delay": 2000}).watch(1)
    first, node, sentinel = trio.instances[0], trio.nodes[0], trio.sentinels[0]
    node.client().pipeline([("SET", f"k{n}", "v" * 20) for n in range(1500)])
    loading = node.client()
    loading.send("DEBUG", "RELOAD", "MERGE")
    wait_for(lambda: ping(first).startswith(b"-LOADING"), 10, "the node to load")
    assert loading.read() == "OK"
    wait_for(lambda: ping(first) == b"+PONG\r\n", 10, "the node to be back")
    assert not sentinel.events("+sdown")
    (node.dir / "dump.rdb").unlink(missing_ok=True)
    (node.dir / "dump.rdb").mkdir()
    node("CONFIG", "SET", "save", "3600 100000")
    node("BGSAVE")
    primary = trio.switched()
    wait_for(lambda: follows(first, primary), 30, "the one with the broken disk to follow")


def test_the_primary_is_moved_by_hand(lab, binary):
    """Two commands of an operator. Sentinel sees a primary that says it is a replica, and follows."""
    trio = Trio(lab).watch(3)
    first, second, third = trio.instances
    second("REPLICAOF", "NO", "ONE")
    first("REPLICAOF", HOST, second.port)
    primary = trio.switched()
    trio.settled(primary)
    wait_converged(trio.nodes[trio.instances.index(primary)],
                   [n for n, i in zip(trio.nodes, trio.instances) if i is not primary])


def test_another_process_is_a_reboot_and_nothing_else(lab, binary):
    trio = Trio(lab).watch(1)
    sentinel, second = trio.sentinels[0], trio.instances[1]
    trio.nodes[1].kill()
    trio.nodes[1].start().wait_up()
    run_id = second.info("server")["run_id"]
    assert sentinel.replicas()[second.port]["runid"] == run_id, "a node's restart is not the instance's"
    second.kill()
    second.start().wait_up()
    wait_for(lambda: sentinel.events("+reboot"), 20, "+reboot")
    assert sentinel.replicas()[second.port]["runid"] == second.info("server")["run_id"] != run_id
    assert not sentinel.events("+odown") and not sentinel.events("+switch-master")


def test_a_replica_that_was_promoted_by_hand_is_put_back(lab, binary):
    trio = Trio(lab).watch(1)
    second = trio.instances[1]
    second("REPLICAOF", "NO", "ONE")
    wait_for(lambda: follows(second, trio.instances[0]), 30, "Sentinel to put it back")
    assert trio.sentinels[0].events("+convert-to-slave")


def test_a_replica_of_the_wrong_primary_is_put_right(lab, binary):
    options = ("down-after-milliseconds 1000", "failover-timeout 2000", "parallel-syncs 2")
    trio = Trio(lab).watch(1, options=options)
    first, second, third = trio.instances
    third("REPLICAOF", HOST, second.port)
    wait_for(lambda: follows(third, first), 30, "Sentinel to put it right")
    assert trio.sentinels[0].events("+fix-slave-config")


def test_with_passwords(lab, binary):
    trio = Trio(lab, requirepass="sesame", masterauth="sesame", node_options={"requirepass": "sesame",
                                                                              "masterauth": "sesame"})
    trio.watch(1, options=QUICKLY + ("auth-pass sesame",))
    trio.instances[0].kill()
    primary = trio.switched()
    trio.settled(primary, replicas=trio.instances[1:])
    wait_for(lambda: primary("SET", "k", "v"), 10, "a write")


def test_with_host_names(lab, binary):
    """Addresses that are announced as names are names everywhere: in INFO, in Sentinel, in the SLAVEOF it sends."""
    trio = Trio(lab, announce_ip="localhost")
    trio.watch(1, primary=("localhost", trio.instances[0].port),
               options=QUICKLY + NAMES)
    sentinel = trio.sentinels[0]
    assert sentinel.master() == ("localhost", trio.instances[0].port)
    assert {each["name"].rsplit(":", 1)[0] for each in sentinel.replicas().values()} == {"localhost"}
    trio.instances[0].kill()
    primary = trio.switched()
    trio.settled(primary, replicas=trio.instances[1:])
    wait_for(lambda: {instance.info().get("master_host") for instance in trio.instances[1:]} == {None, "localhost"}, 10,
             "the name in INFO")  # Sentinel may still be closing connections
    assert sentinel.master() == ("localhost", primary.port)
