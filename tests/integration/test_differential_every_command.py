"""Every command that a stock server knows, subcommands included, on keys of every type and with too few and too many
arguments: through an instance the reply is the stock server's, byte for byte, in RESP2 and RESP3.

Happy path: the server's own COMMAND reply says what there is; requests are made from arity and key positions, the same
ones each time. What cannot be compared stands in EXCEPTIONS, with the reason.
Failure modes: all differences of a run are listed together.
"""

import random

import pytest

RANDOM = "the reply is random, or in the order of a randomly seeded hash"
SERVER = "about the server that was asked or its process; an instance has its own (test_role_commands, test_admin)"
CONNECTION = "changes what the connection is; compared step by step in the corpus and in test_pinned"
REPLICATION = "the instance's own business (test_role_commands, test_downstream)"
WHOLE = "stops, blocks or reconfigures the whole server"
EXCEPTIONS = {
    RANDOM: "time randomkey srandmember spop hrandfield zrandmember scan lolwut keys",
    SERVER: "info role lastsave command memory latency slowlog client object|freq object|idletime wait acl pfselftest"
            " module|list config",
    CONNECTION: "monitor subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe quit reset auth hello"
                " multi exec discard watch",
    REPLICATION: "psync sync replconf replicaof slaveof failover",
    WHOLE: "shutdown save bgsave bgrewriteaof debug module|load module|loadex module|unload migrate script|kill"
           " function|kill",
    "stock looks whether anything else stands in its input buffer": "script|debug",
}
LEFT_OUT = {name for names in EXCEPTIONS.values() for name in names.split()}

# In long sequences, what depends on the clock or on the order of hash tables that grew out of small ones.
NOT_IN_SEQUENCES = set("""expire pexpire expireat pexpireat setex psetex getex ttl pttl expiretime pexpiretime smembers
                          sunion sinter sdiff sscan dump restore xclaim xautoclaim xpending sort sort_ro swapdb select
                          flushall flushdb script function blpop brpop blmove blmpop bzpopmin bzpopmax bzmpop brpoplpush
                          """.split())

DATA = [("FLUSHALL",), ("SELECT", 0), ("SET", "string", "some text"), ("SET", "number", 7),
        ("RPUSH", "list", "a", "b", 3), ("HSET", "hash", "a", 1, "b", "x"), ("SADD", "set", 1, 2, 3),
        ("ZADD", "zset", 1, "a", 2.5, "b"), ("XADD", "stream", "1-1", "a", "b"), ("PFADD", "hll", "a", "b"),
        ("GEOADD", "geo", 13.4, 52.5, "a")]
KEYS = [command[1] for command in DATA[2:]] + ["missing"]
FILLERS = ["1", "0", "a", "-1", "2.5", "x y", "", "1-1", "LEFT", "COUNT", "+", "-", "(1", "99999999999999999999"]
BLOCKING_FILLERS = ["0.01", "a", "", "x"]     # a number would be a timeout


def commands_of(server):
    """(words of the name, arity, flags, first key, last key, step) of everything there is, except what is left out."""
    def walk(entries):
        for entry in entries:
            words = entry[0].decode().split("|")
            if words[0] in LEFT_OUT or "|".join(words) in LEFT_OUT:
                continue
            yield words, entry[1], {str(flag) for flag in entry[2]}, entry[3], entry[4], entry[5]
            yield from walk(entry[9])
    return sorted(walk(server("COMMAND")), key=lambda entry: entry[0])


def request(rng, words, count, fillers, first, last, step, key):
    arguments = words + [rng.choice(fillers) for _ in range(count - len(words))]
    if first > 0:
        end = count + last if last < 0 else last
        for position in range(first, min(end, count - 1) + 1, max(step, 1)):
            arguments[position] = key if position == first else rng.choice(KEYS)
    return arguments


def requests(rng, words, arity, flags, first, last, step):
    least = max(abs(arity), len(words))
    fillers = BLOCKING_FILLERS if "blocking" in flags else FILLERS
    for count in {len(words), least - 1, least + (1 if arity > 0 else 4)}:
        if count >= len(words):
            yield request(rng, words, count, fillers, 0, 0, 0, None)
    for key in KEYS if first > 0 else ["string"] * 3:
        for more in (0, 0, 1, 2) if arity < 0 else (0, 0):
            yield request(rng, words, least + more, fillers, first, last, step, key)


@pytest.mark.parametrize("protocol", [2, 3])
def test_every_command_in_many_ways(pair, sides, protocol):
    rng, different, asked = random.Random(protocol), [], 0
    for side in sides:
        side("HELLO", protocol)
    for words, arity, flags, first, last, step in commands_of(pair.stock):
        for command in requests(rng, words, arity, flags, first, last, step):
            expected, actual = (side.pipeline_raw([*DATA, command])[-1] for side in sides)
            asked += 1
            if expected != actual:
                different.append(f"{command}: stock {expected[:200]!r}, instance {actual[:200]!r}")
    assert asked > 4000
    assert not different, f"{len(different)} of {asked} differ\n" + "\n".join(different)


@pytest.mark.parametrize("seed", range(8))
def test_long_pipelines_of_any_commands(pair, sides, seed):
    """Reads of what was just written and writes, all in one pipeline, over and over: the replies of one server."""
    rng, every = random.Random(seed), []
    for words, arity, flags, first, last, step in commands_of(pair.stock):
        if words[0] not in NOT_IN_SEQUENCES:
            every += requests(rng, words, arity, flags, first, last, step)
    for _ in range(25):
        batch = DATA + [rng.choice(every) for _ in range(200)]
        expected, actual = (side.pipeline_raw(batch) for side in sides)
        replies = zip(batch, expected, actual)
        different = [(command, want[:200], got[:200]) for command, want, got in replies if want != got]
        assert not different, "\n".join(map(str, different))


def test_every_exception_is_a_command(pair):
    known = {entry[0].decode() for entry in pair.stock("COMMAND")}
    known |= {sub[0].decode() for entry in pair.stock("COMMAND") for sub in entry[9]}
    assert LEFT_OUT <= known
