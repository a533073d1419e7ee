"""Users of the configuration: access classes, logging in, ACL, passwords that change, users who are passed through."""

import hashlib
import socket
import subprocess
import threading
import time

import pytest

from harness import BINARY, HOST, wait_for
from resp_client import ReplyError, RespClient


def sha256(password):
    return hashlib.sha256(password.encode()).hexdigest()


def user(name, password="pw", **fields):
    entry = {"name": name, **{key.replace("_", "-"): value for key, value in fields.items()}}
    if password:
        entry["password-sha256"] = sha256(password)
    return entry


OPERATOR = user("operator", "root")


def front(lab, nodes, users, **config):
    """An instance with an operator, as whom the harness asks."""
    instance = lab.instance(nodes, start=False, users=[OPERATOR, *users], **config)
    instance.password, instance.client_options = "root", {"user": "operator"}
    instance.start().wait_up()
    return instance.wait_online()


def enter(instance, name, password="pw", **options):
    return RespClient(instance.port, user=name, password=password, **options)


def refused(client, *command):
    with pytest.raises(ReplyError, match="NOPERM"):
        client(*command)
    return True


def test_access_classes(lab, binary):
    instance = front(lab, [lab.server()], [user("all"), user("reads", access="read"),
                                           user("follows", access="replication")])
    with RespClient(instance.port) as nobody, pytest.raises(ReplyError, match="NOAUTH"):
        nobody("PING")
    with enter(instance, "all") as client:
        assert client("SET", "k", "v") == "OK" and client("ACL", "WHOAMI") == b"all"
        assert client("CONFIG", "SET", "hold.timeout", "1s") == "OK"
    with enter(instance, "reads") as client:
        assert client("GET", "k") == b"v" and b"redis_version" in client("INFO")
        assert client("MULTI") == "OK" and client("GET", "k") == "QUEUED" and client("EXEC") == [b"v"]
        assert client("EVAL_RO", "return redis.call('GET', KEYS[1])", "1", "k") == b"v"
        assert client("SUBSCRIBE", "news")[0] == b"subscribe"
    for command in (["SET", "k", "w"], ["EVAL", "return 1", "0"], ["PUBLISH", "a", "b"], ["KEYS", "*"],
                    ["REPLICAOF", "NO", "ONE"], ["CONFIG", "GET", "*"], ["SIDESTREAM", "DRAIN"], ["PSYNC", "?", "-1"],
                    ["REPLCONF", "listening-port", "1"], ["FAILOVER"], ["CLIENT", "KILL", "TYPE", "normal"]):
        with enter(instance, "reads") as client:
            assert refused(client, *command)
    for command in (["GET", "k"], ["SET", "k", "w"], ["REPLICAOF", "NO", "ONE"], ["CONFIG", "GET", "*"],
                    ["SIDESTREAM", "STATUS"], ["FAILOVER"]):
        with enter(instance, "follows") as client:
            assert refused(client, *command)


def test_replicas_attach_with_their_own_right(lab, binary):
    node = lab.server()
    instance = front(lab, [node], [user("follows", access="replication"), user("reads", access="read")])
    good = lab.server(masteruser="follows", masterauth="pw")
    good.replicaof(instance)
    good.wait_link()
    instance("SET", "k", "v")
    wait_for(lambda: good("GET", "k") == b"v", 10, "the write at the replica")
    bad = lab.server(masteruser="reads", masterauth="pw")
    bad.replicaof(instance)
    wait_for(lambda: "NOPERM" in bad.log_text(), 10, "the refusal in the log of the replica")
    assert bad.info("replication")["master_link_status"] == "down"


def test_own_nodes_follow_without_a_password_for_everybody(lab, binary):
    """Nobody may come in without a name, and still the nodes do: also after a restart of the instance."""
    nodes = lab.servers(3)
    instance = front(lab, nodes, [])
    instance("SET", "k", "v")
    wait_for(lambda: all(node("GET", "k") == b"v" for node in nodes), 20, "the write at every node")
    assert b"user sidestream-nodes on" in b" ".join(instance("ACL", "LIST"))
    instance.terminate()
    instance.start().wait_up()
    instance.wait_online()
    instance("SET", "k", "w")
    wait_for(lambda: all(node("GET", "k") == b"w" for node in nodes), 20, "the next write at every node")


def test_acl_tells_the_truth(lab, binary):
    instance = front(lab, [lab.server()], [
        user("shop", keys=["shop:*", "%R~prices:*"], channels=["shop.*"], commands=["+@read", "+set", "-keys"])])
    operator = lab.closing(instance.client())
    assert operator("ACL", "USERS") == [b"operator", b"shop"] or b"shop" in operator("ACL", "USERS")
    described = operator("ACL", "GETUSER", "shop")
    described = dict(zip(described[::2], described[1::2]))
    assert described[b"flags"] == [b"on"] and described[b"passwords"] == [sha256("pw").encode()]
    assert described[b"keys"] == b"~shop:* %R~prices:*" and described[b"channels"] == b"&shop.*"
    assert described[b"commands"] == b"-@all +@read +set -keys"
    assert operator("ACL", "GETUSER", "nobody") is None
    assert operator("ACL", "DRYRUN", "shop", "GET", "prices:1") == "OK"
    assert b"permissions" in operator("ACL", "DRYRUN", "shop", "SET", "prices:1", "v")
    assert b"hash" in operator("ACL", "CAT") and b"hget" in operator("ACL", "CAT", "hash")
    assert len(operator("ACL", "GENPASS")) == 64
    with enter(instance, "shop") as shop:
        refused(shop, "SET", "prices:1", "v")
        refused(shop, "SET", "prices:1", "v")
        refused(shop, "FLUSHALL")
        refused(shop, "ACL", "LIST")
    with RespClient(instance.port) as stranger, pytest.raises(ReplyError, match="WRONGPASS"):
        stranger("AUTH", "shop", "guess")
    logged = [dict(zip(entry[::2], entry[1::2])) for entry in operator("ACL", "LOG")]
    seen = {(entry[b"reason"], entry[b"object"]): entry[b"count"] for entry in logged}
    assert seen[b"key", b"prices:1"] == 2 and seen[b"command", b"flushall"] == 1 and seen[b"auth", b"AUTH"] == 1
    assert operator("ACL", "LOG", "RESET") == "OK" and operator("ACL", "LOG") == []
    for command in (["SETUSER", "shop", "+@all"], ["DELUSER", "shop"], ["SAVE"]):
        with pytest.raises(ReplyError, match="in its configuration"):
            operator("ACL", *command)
    security = instance.status()["security"]
    assert security["failed_logins"] == 1 and security["refused_by_rules"] == 4
    with enter(instance, "shop"):
        assert b"user=shop" in operator("CLIENT", "LIST")
        assert operator("CLIENT", "KILL", "USER", "shop") == 1


def test_without_users_acl_is_the_nodes(lab, binary):
    node = lab.server()
    instance = lab.instance([node])
    assert instance("ACL", "SETUSER", "app", "on", ">pw", "+@all", "~*") == "OK"
    assert b"app" in node("ACL", "USERS") and b"app" in instance("ACL", "USERS")
    assert instance("ACL", "WHOAMI") == b"default"


def test_failed_logins_wait_alone(lab, binary):
    """Each refusal of an address takes longer; others, and logins that are right, do not wait."""
    instance = front(lab, [lab.server()], [user("app")])
    guessers = [lab.closing(RespClient(instance.port)) for _ in range(6)]
    for guesser in guessers:
        guesser.send("AUTH", "app", "guess")
    with enter(instance, "app") as client:  # the door is not barred
        assert client("PING") == "PONG"
    began = time.monotonic()
    for guesser in guessers:
        with pytest.raises(ReplyError, match="WRONGPASS"):
            guesser.read()
    assert instance.status()["security"]["failed_logins"] == 6
    assert time.monotonic() - began > 1  # 0.1 + 0.2 + ... would be 3.2 for the last one


def test_a_password_changes_under_load(lab, binary):
    """Two are valid, then the other one alone: no request fails, whoever is in stays in, the old one opens no more."""
    path = lab.dir / "password"
    path.write_text("first\nsecond\n")
    entry = {"name": "app", "password-file": [str(path)]}
    instance = front(lab, [lab.server()], [entry])
    ended, failures, done = threading.Event(), [], [0]

    def load(password, reconnect):
        client = enter(instance, "app", password)
        while not ended.is_set():
            try:
                assert client("INCR", "n") > 0
                done[0] += 1
                if reconnect:
                    client.close()
                    client = enter(instance, "app", password)
            except Exception as error:
                failures.append(repr(error))
                return
        client.close()

    threads = [threading.Thread(target=load, args=arguments)
               for arguments in (("first", False), ("second", False), ("second", True), ("second", True))]
    for thread in threads:
        thread.start()
    path.write_text("second\n")

    def first_is_refused():
        try:
            enter(instance, "app", "first").close()
        except ReplyError as error:
            return "WRONGPASS" in str(error)

    wait_for(first_is_refused, 20, "the old password to be refused")
    seen = done[0]
    wait_for(lambda: done[0] > seen + 50, 20, "load behind the change")
    ended.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_acl_file_is_read_again(lab, binary):
    path = lab.dir / "users.acl"
    path.write_text("user default on nopass ~* &* +@all\nuser app on >pw ~* &* +@all\nuser old on >pw ~* +@all\n")
    instance = lab.instance([lab.server()], aclfile=str(path))
    app, old = enter(instance, "app"), enter(instance, "old")
    assert app("SUBSCRIBE", "taken")[0] == b"subscribe"
    path.write_text("user default on nopass ~* &* +@all\nuser app on >other ~a* &left +@all\n")
    assert instance("ACL", "LOAD") == "OK"
    assert app.read_until_close() == b"" and old.read_until_close() == b""
    app = enter(instance, "app", "other")
    assert app("SET", "a", "v") == "OK"
    refused(app, "SET", "b", "v")
    path.write_text("user app on >x ~a\nuser app\nuser b +nonsense|\n")
    with pytest.raises(ReplyError, match=r"users.acl:2:6: Duplicate user 'app' found"):
        instance("ACL", "LOAD")
    assert app("GET", "a") == b"v"
    app.close()


def test_configuration_mistakes_have_places(lab, binary, tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "users.acl").write_text("user a on\nuser z on +@nosuch\n")
    path = tmp_path / "sidestream.yaml"
    path.write_text(f"""\
nodes: [{{address: "127.0.0.1:1"}}]
aclfile: {tmp_path}/users.acl
users:
  - {{name: a, password-sha256: {sha256("x")}}}
  - {{name: b, password-file: {tmp_path}/empty}}
  - {{name: c, password-file: {tmp_path}/missing}}
""")
    def problems():
        done = subprocess.run([str(BINARY), "--config", str(path), "--check-config"], capture_output=True, text=True)
        assert done.returncode == 1
        return done.stdout + done.stderr

    found = problems()
    assert "users.acl:2:11: '+@nosuch': Unknown command or category name in ACL" in found
    assert f"{path}:4:5: users: a: is given twice" in found
    assert f"{path}:5:5: users: b: password-file" in found and "is empty" in found
    assert f"{path}:6:5: users: c: password-file" in found and "cannot be read" in found
    path.write_text("""\
nodes: [{address: "127.0.0.1:1"}]
users:
  - {name: a}
  - {name: b, password-sha256: short}
  - {name: c, access: some, keys: ["%X~a"], commands: [get, +@nosuch]}
  - {access: read}
  - {name: d, password-sha256: short2, color: red}
""")
    found = problems()
    for words in (":3:5: users: a: has no password", ":4:32: users.password-sha256: The password hash must be",
                  ":5:23: users.access: wanted one of all, read, replication",
                  ":5:36: users.keys: '%X~a': Syntax error",
                  ":5:56: users.commands: wanted ACL rules", ":5:61: users.commands: '+@nosuch': Unknown command",
                  ":6:5: users: name is missing", ":7:40: users: unknown field 'color'"):
        assert words in found, (words, found)


def test_a_legacy_client_and_the_anonymous_user(lab, binary):
    """Inline, without AUTH: the default user may be given little."""
    instance = front(lab, [lab.server()], [{"name": "default", "commands": ["+get", "+set"], "keys": ["open:*"]}])
    with socket.create_connection((HOST, instance.port), timeout=10) as legacy:
        for said, heard in ((b"SET open:1 v\r\n", b"+OK\r\n"), (b"GET open:1\r\n", b"$1\r\nv\r\n"),
                            (b"GET other\r\n", b"-NOPERM this user has no permissions to access one of the keys "
                                               b"used as arguments\r\n"),
                            (b"PING\r\n", b"-NOPERM this user has no permissions to run the 'ping' command\r\n")):
            legacy.sendall(said)
            assert legacy.recv(200) == heard


# --- passed through ----------------------------------------------------------------------------------------------

NODE_USERS = """\
user default on >deep ~* &* +@all
user app on >pw ~app:* &* +@all -@dangerous +role
user blind on >pw ~* &* +@all -@dangerous
"""


@pytest.fixture
def passed(lab, binary):
    """Two nodes that know the users, an instance that knows only their names."""
    path = lab.dir / "node.acl"
    path.write_text(NODE_USERS)
    nodes = [lab.server(start=False, aclfile=str(path), masterauth="deep") for _ in range(2)]
    for node in nodes:
        node.password = "deep"
        node.start().wait_up()
    instance = lab.instance(nodes, start=False, masterauth="deep",
                            users=[OPERATOR, {"name": "app", "auth": "pass-through"},
                                   {"name": "blind", "auth": "pass-through"}])
    instance.password, instance.client_options = "root", {"user": "operator"}
    instance.start().wait_up()
    return nodes, instance.wait_online()


def test_the_nodes_decide_about_who_is_passed_through(passed):
    nodes, instance = passed
    for name in ("app", "blind"):
        with enter(instance, name) as client:
            assert client("ACL", "WHOAMI") == name.encode()
            assert client("SET", "app:1", "v") == "OK" and client("GET", "app:1") == b"v"
            refused(client, "FLUSHALL")
            with pytest.raises(ReplyError, match="can't run this command"):
                client("EVAL", "return redis.call('FLUSHALL')", "0")
            assert client("MULTI") == "OK" and client("INCR", "app:n") == "QUEUED" and client("EXEC")[0] > 0
            assert client("BLPOP", "app:none", "0.01") is None
            assert client("HELLO", "3")[b"proto"] == 3
            assert client("GET", "app:1") == b"v"
    with enter(instance, "app") as client:
        refused(client, "GET", "other")
        wait_for(lambda: client("GET", "app:1") and instance.counters()["reads_replica"], 20, "reads of a replica")
        listed = nodes[0]("CLIENT", "LIST").decode() + nodes[1]("CLIENT", "LIST").decode()
        assert "user=app" in listed
    wait_for(lambda: "user=app" not in nodes[0]("CLIENT", "LIST").decode(), 20, "its connections to be closed")


def test_the_nodes_judge_the_password_too(passed):
    nodes, instance = passed
    with RespClient(instance.port) as client:
        with pytest.raises(ReplyError, match="WRONGPASS"):
            client("AUTH", "app", "guess")
        with pytest.raises(ReplyError, match="NOAUTH"):
            client("GET", "app:1")
        assert b"proto" in bytes(client.raw("HELLO", "3", "AUTH", "app", "pw"))
        assert client("ACL", "WHOAMI") == b"app"
        assert client("RESET") == "RESET"
        with pytest.raises(ReplyError, match="NOAUTH"):
            client("GET", "app:1")


def test_a_passed_user_reads_what_he_wrote(passed):
    """He may not ask ROLE, or he may: never an older value."""
    _, instance = passed
    with enter(instance, "app") as writer, enter(instance, "blind") as reader, instance.client() as operator:
        for i in range(300):
            writer("SET", "app:k", i)
            assert int(reader("GET", "app:k")) == i and int(operator("GET", "app:k")) == i
            reader("SET", "app:k", -i)
            assert int(writer("GET", "app:k")) == -i and int(operator("GET", "app:k")) == -i
