"""Users and permissions: the same ACL file at a stock server and at an instance, the same replies, byte for byte."""

import shlex

import pytest

from acl_corpus import ACL_FILE, CASES, SETUP
from resp_client import RespClient, encode

NOT_INSIDE = ("MULTI", "WATCH", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SHUTDOWN", "BLPOP", "NOSUCH",
              "CLIENT", "ACL", "AUTH", "CONFIG", "REPLICAOF", "WAIT", "SAVE", "DEBUG")


def commands(text):
    return [shlex.split(line) for line in text.splitlines() if line]


@pytest.fixture(scope="module")
def doors():
    """(stock server with users, instance with the same users in front of a server without)."""
    import harness
    if not harness.BINARY.exists():
        pytest.skip(f"{harness.BINARY} is not built")
    lab = harness.Lab()
    path = lab.dir / "users.acl"
    path.write_text(ACL_FILE)
    stock = lab.server(aclfile=str(path))
    instance = lab.instance([lab.server()], aclfile=str(path))
    yield stock, instance
    lab.close()


@pytest.fixture
def login(doors):
    """Both sides with the same data, as that user."""
    opened = []

    def enter(user, protocol=2):
        sides = []
        for door in doors:
            keeper = door.client()
            keeper("FLUSHALL")
            for command in commands(SETUP):
                keeper(*command)
            keeper.close()
            client = door.client()
            opened.append(client)
            assert client("AUTH", user, "pw") == "OK"
            if protocol == 3:
                client("HELLO", 3)
            sides.append(client)
        return sides

    yield enter
    for client in opened:
        client.close()


def test_there_are_enough_cases(doors):
    stock, _ = doors
    outcomes = {True: 0, False: 0}
    for user, text in CASES.items():
        for command in commands(text):
            with stock.client() as client:
                client("AUTH", user, "pw")
                outcomes[b"NOPERM" in client.raw(*command)[:8]] += 1
    assert outcomes[True] >= 100 and outcomes[False] >= 100, outcomes


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("user", CASES)
def test_allowed_and_refused_as_by_stock(login, user, protocol):
    stock, instance = login(user, protocol)
    different = []
    for command in commands(CASES[user]):
        want, got = stock.raw(*command), instance.raw(*command)
        if want != got:
            different.append(f"{command}: stock {want[:200]!r}, instance {got[:200]!r}")
    assert not different, "\n".join(different)


@pytest.mark.parametrize("user", CASES)
def test_pipelined(login, user):
    stock, instance = login(user)
    batch = [command for command in commands(CASES[user]) if command[0] not in ("MULTI", "BLPOP")]
    assert instance.pipeline_raw(batch) == stock.pipeline_raw(batch)


@pytest.mark.parametrize("user", ["app", "reader", "splits", "picks", "strings", "scripts", "globs"])
@pytest.mark.parametrize("only_allowed", [True, False])
def test_inside_transactions(login, user, only_allowed):
    """What is refused spoils the transaction; without that it is executed."""
    stock, instance = login(user)
    inside = [command for command in commands(CASES[user])
              if command[0] not in NOT_INSIDE and not {"w_*", "x_*", "#"} & set(command)]  # SORTs, refused at EXEC
    if only_allowed:
        probe, _ = login(user)
        inside = [command for command in inside if not probe.raw(*command).startswith(b"-")]
        stock, instance = login(user)
    if not stock.raw("MULTI") == instance.raw("MULTI") == b"+OK\r\n":
        return  # may not
    for command in inside:
        assert instance.raw(*command) == stock.raw(*command), command
    want, got = stock.raw("EXEC"), instance.raw("EXEC")
    assert got == want
    assert only_allowed or b"EXECABORT" in want


def test_exec_itself_may_be_refused(doors):
    stock, instance = doors
    for door in doors:
        with door.client() as client:
            client("AUTH", "strings", "pw")
            assert client.raw("MULTI").startswith(b"-NOPERM")
            assert client.raw("EXEC").startswith((b"-NOPERM", b"-EXECABORT"))


def test_what_is_heard(login):
    """Subscribing is allowed by channel, and literally by pattern."""
    for command in (["SUBSCRIBE", "news.a"], ["PSUBSCRIBE", "news.*"], ["PSUBSCRIBE", "exact"],
                    ["SSUBSCRIBE", "news.a"], ["UNSUBSCRIBE", "other"], ["PUNSUBSCRIBE", "*"]):
        stock, instance = login("hears")
        assert instance.raw(*command) == stock.raw(*command), command


def test_logging_in(doors):
    """The words of every login that fails, and of those that do not."""
    sequences = [
        [["AUTH", "app", "wrong"], ["ACL", "WHOAMI"]],
        [["AUTH", "gone", "pw"]],
        [["HELLO", "3", "AUTH", "app", "wrong"], ["ACL", "WHOAMI"]],
        [["AUTH", "anyone", "whatever"], ["GET", "app:1"], ["SET", "a", "b"]],
        [["AUTH", "pw"]],
        [["AUTH"], ["AUTH", "a", "b", "c"]],
        [["HELLO", "2", "AUTH", "app"], ["HELLO", "4", "AUTH", "app", "pw"], ["ACL", "WHOAMI"]],
        [["AUTH", "app", "pw"], ["ACL", "WHOAMI"], ["RESET"], ["ACL", "WHOAMI"]],
        [["AUTH", "nothing", "pw"], ["RESET"], ["PING"]],
        [["AUTH", "app", "pw"], ["MULTI"], ["AUTH", "reader", "pw"], ["EXEC"], ["ACL", "WHOAMI"]],
    ]
    for sequence in sequences:
        replies = []
        for door in doors:
            with door.client() as client:
                replies.append([client.raw(*command) for command in sequence])
        assert replies[1] == replies[0], sequence


def test_inline_and_mixed_case(login):
    stock, instance = login("app")
    for line in (b"gEt other\r\n", b"SET app:inline 'a b'\r\n", b"config get maxmemory\r\n"):
        for side in (stock, instance):
            side.send_raw(line)
        assert instance.read_raw() == stock.read_raw(), line


def test_large_requests_are_checked_whole(doors):
    """A request that is passed on while it arrives: all its keys, also those that come last."""
    stock, instance = doors
    value = "x" * 2_000_000
    many = [f"app:{i // 2}" if i % 2 == 0 else "v" for i in range(300)]
    for command in (["MSET", "app:a", value, "other", "v"], ["SET", "other", value], ["SET", "app:a", value],
                    ["MSET", *many, "app:b", value, "last", "v"]):
        replies = []
        for door in doors:
            with door.client() as client:
                client("AUTH", "app", "pw")
                replies.append(client.raw(*command))
                assert client("GET", "app:none") is None
        assert replies[0] == replies[1], command[:2]
    for door in doors:
        assert door("EXISTS", "last") == 0
        with door.client() as client:
            client("AUTH", "splits", "pw")
            assert client("SET", "dst:large", value) == "OK"
            assert client.raw("SET", "dst:large", value, "GET").startswith(b"-NOPERM")
            assert client.raw("BITFIELD", "src:s", *["GET", "u8", "0"] * 30, "SET", "u8", "0", "1" + " " * 2_000_000
                              ).startswith(b"-NOPERM")
