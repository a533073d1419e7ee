"""`reads: fresh`: a replica that lags by 200 ms is never the reason for a stale answer, and still takes its share.

The stock run of the same check must find stale reads when reads go to the lagging replica: otherwise it proves
nothing.
"""

import random
import threading
import time

import pytest

from fault_proxy import FaultProxy
from harness import wait_for
from resp_client import RespClient, encode

LAG = 0.2


def bulk(value):
    return b"$%d\r\n%s\r\n" % (len(value), value)


def stale_pairs(write_port, read_port, pairs, batch, same_connection, seed):
    """Writes then reads `pairs` keys, `batch` at a time. Returns how many reads did not give the value just written."""
    writer = RespClient(write_port, timeout=30)
    reader = writer if same_connection and write_port == read_port else RespClient(read_port, timeout=30)
    rng, stale = random.Random(seed), 0
    for first in range(0, pairs, batch):
        keys = [f"pair:{seed}:{n}".encode() for n in rng.sample(range(max(batch, 500)), batch)]
        values = [b"%d-%d" % (first, n) for n in range(batch)]
        sets = [encode("SET", key, value) for key, value in zip(keys, values)]
        gets = [encode("GET", key) for key in keys]
        if reader is writer:
            writer.send_raw(b"".join(s + g for s, g in zip(sets, gets)))
            replies = [reply for _ in keys for reply in (writer.read_raw(), writer.read_raw())]
            assert set(replies[::2]) == {b"+OK\r\n"}
            answers = replies[1::2]
        else:
            writer.send_raw(b"".join(sets))
            assert writer.read_bytes(5 * batch) == b"+OK\r\n" * batch
            reader.send_raw(b"".join(gets))
            answers = [reader.read_raw() for _ in keys]
        stale += sum(answer != bulk(value) for answer, value in zip(answers, values))
    return stale


def lagging_replica(lab, front, **options):
    proxy = lab.closing(FaultProxy(front.port))
    replica = lab.server(**options)
    replica.replicaof(proxy)
    replica.wait_link()
    proxy.delays = {"down": LAG, "up": 0.0}
    return replica


def in_threads(jobs):
    """Runs callables at the same time; returns their results, raises what one of them raised."""
    results = [None] * len(jobs)

    def run(index):
        try:
            results[index] = jobs[index]()
        except Exception as error:  # handed to the test thread below
            results[index] = error
    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a client hangs"
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def test_the_check_finds_stale_reads_of_a_stock_replica(lab):
    primary = lab.server()
    replica = lagging_replica(lab, primary)
    assert stale_pairs(primary.port, replica.port, 500, 50, False, 1) > 400


def group(lab, **config):
    """Primary node, one prompt replica, one that lags; returns (instance, primary, [prompt, lagging])."""
    primary, prompt = lab.servers(2)
    instance = lab.instance([primary, prompt], **config)
    lagging = lagging_replica(lab, instance)
    wait_for(lambda: any(str(lagging.port) in r["address"] for r in instance.status()["replicas"]), 10,
             "the lagging replica to be known")
    return instance, primary, [prompt, lagging]


def test_no_stale_read_in_100000_pairs(lab, binary):
    instance, _, replicas = group(lab)
    jobs = []
    for seed, (pairs, batch, same) in enumerate([(30000, 50, True), (30000, 50, False), (30000, 7, True),
                                                 (6000, 3, False), (2000, 1, True), (2000, 1, False)]):
        jobs.append(lambda p=pairs, b=batch, s=same, n=seed: stale_pairs(instance.port, instance.port, p, b, s, n))
    assert in_threads(jobs) == [0] * len(jobs)
    assert instance.counters()["writes"] >= 100000
    assert all(replica.alive() for replica in replicas)


def ninety_percent_reads(port, seconds, seed, keys=5000):
    """A 90 % read load on random keys; each client also checks the keys that only it writes."""
    rng, client, mine, done = random.Random(seed), RespClient(port, timeout=30), {}, 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        commands, expected = [], []
        for _ in range(20):
            number = rng.randrange(keys)
            if rng.random() < 0.1:
                value = b"%d-%d" % (seed, rng.getrandbits(40))
                commands.append(("SET", f"own:{seed}:{number}", value))
                mine[number] = value
                expected.append("OK")
            elif rng.random() < 0.3 and mine:
                number = rng.choice(list(mine)) if len(mine) < 50 else number
                commands.append(("GET", f"own:{seed}:{number}"))
                expected.append(mine.get(number))
            else:
                commands.append(("GET", f"own:{rng.randrange(4)}:{number}"))
                expected.append(...)
        for command, want, got in zip(commands, expected, client.pipeline(commands)):
            assert want is ... or got == want, f"stale: {command} gave {got!r}, written was {want!r}"
        done += len(commands)
    return done


def test_replicas_serve_more_than_half_of_a_read_load(lab, binary):
    instance, primary, replicas = group(lab)
    counters = instance.counters()
    before = [node.calls("get") for node in (primary, *replicas)]
    done = sum(in_threads([lambda n=n: ninety_percent_reads(instance.port, 4, n) for n in range(4)]))
    after = [node.calls("get") for node in (primary, *replicas)]
    by_primary, by_prompt, by_lagging = (b - a for a, b in zip(before, after))
    now = instance.counters()
    by_replica = now["reads_replica"] - counters["reads_replica"]
    all_reads = by_replica + now["reads_primary"] - counters["reads_primary"]
    assert all_reads >= 0.85 * done
    assert by_replica > all_reads / 2, f"{by_replica} of {all_reads} reads were served by replicas"
    assert by_prompt + by_lagging > by_primary, (by_primary, by_prompt, by_lagging)
    assert by_lagging > 0, "a lagging replica is proven fresh for all keys that were not just written"


@pytest.mark.parametrize("policy", ["eventual"])
def test_other_policies_do_read_stale_data(lab, binary, policy):
    """Without `fresh` the same check does find the lag: the instance is not just reading from the primary."""
    primary = lab.server()
    instance = lab.instance([primary], routing={"reads": policy})
    lagging = lagging_replica(lab, instance)
    wait_for(lambda: instance("GET", "warm") is None and lagging.calls("get") > 0, 10, "reads to reach the replica")
    assert stale_pairs(instance.port, instance.port, 500, 50, False, 1) > 100


def test_a_cut_replica_is_not_read(lab, binary):
    primary = lab.server()
    instance = lab.instance([primary])
    proxy = lab.closing(FaultProxy(instance.port))
    replica = lab.server()
    replica.replicaof(proxy)
    replica.wait_link()
    assert stale_pairs(instance.port, instance.port, 1000, 20, False, 1) == 0
    proxy.stall("down")
    assert stale_pairs(instance.port, instance.port, 1000, 20, False, 2) == 0
    proxy.resume()
    proxy.refusing = True
    proxy.cut()
    assert stale_pairs(instance.port, instance.port, 1000, 20, True, 3) == 0


def wrong_answers(instance, expected, stop):
    """Reads `k` without pause until `stop` is set; returns the answers that were neither expected nor an error."""
    wrong = []
    with instance.client(timeout=30) as client:
        while not stop.is_set():
            for value in client.pipeline([("GET", "k")] * 10):
                if value != expected:
                    wrong.append(value)
    return wrong


@pytest.mark.parametrize("what", ["promoted", "other primary", "restarted empty", "flushed and returned"])
def test_a_replica_that_is_no_longer_ours_is_not_believed(lab, binary, what):
    """Its offset may even be larger than ours: what it says belongs to another history."""
    primary = lab.server()
    instance = lab.instance([{"address": primary.address, "weight": 0}])
    instance("SET", "k", "right")
    replica, other = lab.servers(2)
    replica.replicaof(instance)
    replica.wait_link()
    wait_for(lambda: instance("GET", "k") and replica.calls("get") > 0, 10, "reads at the replica")
    other("SET", "k", "wrong")
    follower = lab.server()                  # makes its offset grow
    follower.replicaof(other)
    follower.wait_link()
    with other.client() as client:
        client.pipeline([("SET", "filler", "x" * 1000)] * 3000)    # an offset far beyond ours
    stop, found = threading.Event(), []
    readers = [threading.Thread(target=lambda: found.extend(wrong_answers(instance, b"right", stop)), daemon=True)
               for _ in range(2)]
    for reader in readers:
        reader.start()
    turn_away(replica, other, instance, what)
    stop.set()
    for reader in readers:
        reader.join(30)
    assert found == []


def turn_away(replica, other, instance, what):
    if what == "restarted empty":
        replica.kill()
        replica.start().wait_up()
        wait_for(lambda: replica("PING"), 5, "the empty server")
    elif what == "other primary":
        replica.replicaof(other)
        replica.wait_link()
    else:
        replica.replicaof(None)
        replica("SET", "k", "wrong")
    time.sleep(0.3)                          # a window in which a wrong read could happen; nothing marks its end
    if what == "flushed and returned":
        replica.replicaof(instance)
        replica.wait_link()


def test_writes_of_others_are_seen_as_well(lab, binary):
    """Written past the instance, straight to the primary: fresh as soon as it was relayed to us."""
    instance, primary, _ = group(lab)
    with primary.client() as writer, instance.client() as reader:
        for number in range(300):
            writer("SET", "direct", number)
            offset = writer("ROLE")[1]
            if number % 10 == 0:
                wait_for(lambda o=offset: instance.offset() >= o, 10, "the write to be relayed")
                assert int(reader("GET", "direct")) == number


def test_what_cannot_be_pinned_to_keys_is_fresh_too(lab, binary):
    """FLUSHALL, scripts, SWAPDB, renames, expiry and stores change keys that their arguments do not name plainly."""
    instance, _, _ = group(lab)
    with instance.client() as writer, instance.client() as reader:
        for number in range(60):
            name, value = f"u{number}", b"%d" % number
            writer("EVAL", "return redis.call('set', ARGV[1], ARGV[2])", 0, name, value)
            assert reader("GET", name) == value
            writer.pipeline([("MULTI",), ("SET", f"m{number}", value), ("EXEC",)])
            assert reader("GET", f"m{number}") == value
            writer("RENAME", name, f"new-{name}")
            assert (reader("GET", name), reader("GET", f"new-{name}")) == (None, value)
            writer("RPUSH", f"l{number}", 3, 1, 2)
            writer("SORT", f"l{number}", "STORE", f"sorted{number}")
            assert reader("LRANGE", f"sorted{number}", 0, -1) == [b"1", b"2", b"3"]
            writer("BLPOP", f"l{number}", 1)
            assert reader("LLEN", f"l{number}") == 2
            if number % 20 == 0:
                writer("SWAPDB", 0, 1)
                assert reader("GET", f"m{number}") is None
                writer("SWAPDB", 0, 1)
                assert reader("GET", f"m{number}") == value
        writer("FLUSHALL")
        assert [reader("GET", f"m{n}") for n in range(60)] == [None] * 60


def test_a_replica_side_instance_reads_its_own_writes(lab, binary):
    """Writes go up to the first instance, the stream comes back late: reads here wait for nobody and are not stale."""
    nodes = lab.servers(2)
    top = lab.instance([nodes[0]])
    way = lab.closing(FaultProxy(top.port))
    bottom = lab.instance([nodes[1]], replicaof=f"127.0.0.1:{way.port}")
    bottom.wait_link()
    way.delays = {"down": 0.1, "up": 0.0}
    jobs = [lambda s=seed, same=seed % 2 == 0: stale_pairs(bottom.port, bottom.port, 600, 30, same, s)
            for seed in range(4)]
    assert in_threads(jobs) == [0] * 4
    way.delays = {}
    assert stale_pairs(bottom.port, top.port, 500, 10, False, 9) == 0
