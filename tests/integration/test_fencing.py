"""Who may be a primary beside another one stops taking writes: by what Sentinels say, by what the successor says, and,
where it is configured, by hearing nobody."""

from harness import HOST, stays, wait_converged, wait_for
from resp_client import ReplyError
from sentinel import Trio, follows


def refused(instance):
    with instance.client(timeout=20) as client:
        return client.raw("SET", "refused", "1")


def test_a_returning_primary_takes_no_write_before_it_has_asked(lab, binary):
    """Its node was alive all the time; what it acknowledged while it was not sure would be lost."""
    trio = Trio(lab, asks=3).watch(3)
    first = trio.instances[0]
    first("SET", "before", "1")
    first.kill()
    primary = trio.switched()
    trio.settled(primary, replicas=trio.instances[1:])
    wait_for(lambda: primary("SET", "k", "v"), 10, "a write at the new primary")
    first.start().wait_up()
    acknowledged = []
    with first.client(timeout=20) as client:
        def try_to_write():
            try:
                client("RPUSH", "tried", len(acknowledged))
                acknowledged.append(len(acknowledged))
            except ReplyError as error:
                assert str(error).startswith("MASTERDOWN"), f"a retryable error, not {error}"
            except ConnectionError:
                return True  # Sentinel has made it a replica, and told its clients
            return follows(first, primary)
        wait_for(try_to_write, 30, "the old primary to follow")
    node = trio.nodes[trio.instances.index(primary)]
    wait_for(lambda: follows(first, primary), 30, "the old primary to follow")
    found = node("LRANGE", "tried", 0, -1)
    assert found == [b"%d" % n for n in acknowledged], "what was acknowledged was written at the new primary"
    wait_converged(node, [n for n in trio.nodes if n is not node])


def test_cut_off_from_sentinels_and_replicas(lab, binary):
    trio = Trio(lab, asks=1, fence_after="2s").watch(1)
    first, sentinel = trio.instances[0], trio.sentinels[0]
    assert first("SET", "k", "1") == "OK"
    sentinel.pause()
    stays(lambda: first("SET", "k", "2") == "OK", 3, "writes while every replica is still ours")
    trio.instances[2].pause()
    wait_for(lambda: b"cut off from the Sentinels" in refused(first), 15, "the fence")
    assert refused(first).startswith(b"-MASTERDOWN writes are not taken here: cut off from the Sentinels")
    assert first("GET", "k") == b"2", "reads go on"
    with first.client() as client:
        replies = client.pipeline([("MULTI",), ("SET", "k", "3"), ("EXEC",)])
        assert str(replies[2]).startswith("MASTERDOWN") and client("GET", "k") == b"2"
        assert client.raw("EVAL", "return redis.call('set', 'k', '4')", 0).startswith(b"-MASTERDOWN")
        assert client("PUBLISH", "news", "x") == 0
    assert not first.status()["ready"] and first.status()["fenced"] and first.info("sidestream")["sidestream_fenced"]
    trio.instances[2].resume()
    sentinel.resume()
    assert wait_for(lambda: first("SET", "k", "5"), 15, "writes again") == "OK"


def test_the_successor_tells_the_one_it_left(lab, binary):
    """Without any Sentinel: promoted while the upstream was away; when that is back, it learns."""
    nodes = lab.servers(2)
    top = lab.instance([nodes[0]])
    below = lab.instance([nodes[1]], replicaof=top, repl_timeout=1)
    below.wait_link()
    below.wait_online()
    assert top("SET", "k", "1") == "OK"
    wait_for(lambda: nodes[1]("GET", "k") == b"1", 10, "the write to arrive")
    top.pause()
    wait_for(lambda: not below.link_up(), 15, "the upstream to be missed")
    assert below("REPLICAOF", "NO", "ONE") == "OK"
    assert wait_for(lambda: below("SET", "k", "2"), 10, "a write") == "OK"
    top.resume()
    wait_for(lambda: f"the history went on at {below.address}".encode() in refused(top), 20, "the news")
    assert top("REPLICAOF", HOST, below.port) == "OK"
    wait_for(lambda: follows(top, below), 20, "the former to follow")
    assert wait_for(lambda: top("SET", "k", "3"), 10, "a write through it") == "OK" and nodes[1]("GET", "k") == b"3"


def test_a_copy_that_parts_fences_nobody_and_an_operator_may_insist(lab, binary):
    nodes = lab.servers(2)
    top = lab.instance([nodes[0]])
    below = lab.instance([nodes[1]], replicaof=top)
    below.wait_link()
    below.wait_online()
    history = top.replid()
    assert below("REPLICAOF", "NO", "ONE") == "OK"
    stays(lambda: top("SET", "k", "1") == "OK", 1.5, "the upstream goes on, as with stock")
    assert top("SIDESTREAM", "SUCCEEDED", history, HOST, below.port) == "OK"
    assert refused(top).startswith(b"-MASTERDOWN writes are not taken here: the history went on at")
    assert top.raw("SIDESTREAM", "SUCCEEDED", "0" * 40, HOST, below.port).startswith(b"-ERR this is another history")
    kept = top.dir / "data" / "state.json"
    wait_for(lambda: "successor" in kept.read_text(), 10, "the news to be kept")
    top.kill()
    top.start().wait_up()
    assert refused(top).startswith(b"-MASTERDOWN writes are not taken here: the history went on at"), "not told twice"
    assert top("REPLICAOF", "NO", "ONE") == "OK"
    assert wait_for(lambda: top("SET", "k", "2"), 10, "a write") == "OK"
    assert "successor" not in kept.read_text()
    top.kill()
    top.start().wait_up()
    assert wait_for(lambda: top("SET", "k", "3"), 10, "a write after a restart") == "OK"


def test_a_primary_that_was_frozen_takes_no_write_before_it_has_asked(lab, binary):
    """What its clients sent meanwhile lies in its sockets: it is read before anything else."""
    trio = Trio(lab, asks=3, fence_after="2s").watch(3)
    first = trio.instances[0]
    first("SET", "before", "1")
    clients = [lab.closing(first.client(timeout=30)) for _ in range(20)]
    first.pause()
    primary = trio.switched()
    trio.settled(primary, replicas=trio.instances[1:])
    for number, client in enumerate(clients):
        client.send("RPUSH", "frozen", number)
    first.resume()
    taken = []
    for number, client in enumerate(clients):
        try:
            client.read()
            taken.append(b"%d" % number)
        except ReplyError as error:
            assert str(error).startswith("MASTERDOWN"), f"a retryable error, not {error}"
        except ConnectionError:
            pass  # Sentinel has made it a replica, and told its clients
    wait_for(lambda: follows(first, primary), 60, "the old primary to follow")
    node = trio.nodes[trio.instances.index(primary)]
    assert set(taken) <= set(node("LRANGE", "frozen", 0, -1))
    assert first.status()["counters"]["lost_writes"] == 0
