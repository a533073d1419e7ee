"""The configuration changes while everything runs: by SIGHUP, POST and CONFIG SET, under load, without a dropped
request; what is wrong changes nothing and says so everywhere."""

import json
import re
import signal
import subprocess

from harness import HOST, free_port, wait_for
from test_admin import ask
from writers import Writers


def rewrite(instance, **config):
    """Another file, not yet read."""
    instance.config.update({key.replace("_", "-"): value for key, value in config.items()})
    instance.command()


def reload(instance, **config):
    rewrite(instance, **config)
    status, _, body = ask(instance, "/api/v1/reload", "POST")
    assert status == 200, body
    return json.loads(body)


def in_force(instance):
    return json.loads(ask(instance, "/api/v1/config")[2])


def metric(instance, name):
    return float(re.search(rf"^sidestream_{name} (\S+)$", ask(instance, "/metrics")[2], re.M)[1])


def entry(server, weight=100):
    return {"address": server.address, "weight": weight}


def weights(instance):
    return {node["address"]: node["state"] for node in instance.status()["nodes"]}


def test_reload_under_load_without_a_dropped_request(lab, binary):
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica])
    with Writers([instance.port], count=6) as writers:
        for round_ in range(12):
            reload(instance, **{"routing": {"reads": ["fresh", "eventual", "primary"][round_ % 3],
                                            "rules": [{"keys": f"list:{round_},*", "reads": "primary"}]},
                                "repl-timeout": 30 + round_, "limits": {"maxclients": 1000 + round_},
                                "hold": {"timeout": f"{1000 + round_}ms"}})
            assert in_force(instance)["repl-timeout"] == str(30 + round_)
            assert f"list:{round_},*" in in_force(instance)["routing.rules"]
            instance.signal(signal.SIGHUP)  # nothing has changed
            writers.go_on(5)
    writers.verify(primary)


def test_nodes_come_go_and_are_weighted_under_load(lab, binary):
    first, second, third = lab.servers(3)
    instance = lab.instance([first, second])
    with Writers([instance.port]) as writers:
        assert reload(instance, nodes=[entry(first), entry(third, 10), entry(second, 0)])["changed"] == ["nodes"]
        instance.wait_online()
        wait_for(third.link_up, 20, "the new node to follow")
        reader = instance.client()
        asked = third.calls("get")
        wait_for(lambda: reader("GET", "x") is None and third.calls("get") > asked, 10, "reads at the new node")
        idle = second.calls("get")
        for _ in range(50):
            reader("GET", "x")
        assert second.calls("get") == idle, "weight 0: none"
        assert instance("CONFIG", "SET", "nodes", f"{first.address},{second.address};weight=7") == "OK"
        assert in_force(instance)["nodes"] == f"address={first.address},address={second.address};weight=7"
        assert instance("CONFIG", "SET", "nodes", in_force(instance)["nodes"]) == "OK", "it reads what it prints"
        assert set(weights(instance)) == {first.address, second.address}
        writers.go_on()
        third.kill()
        writers.go_on()
    writers.verify(first)
    assert "none of our nodes any more" in ask(instance, "/api/v1/events")[2]
    assert f'node="{third.address}"' not in ask(instance, "/metrics")[2], "no label of what is gone"


def test_the_primary_and_the_last_node_stay(lab, binary):
    first, second = lab.servers(2)
    instance = lab.instance([first, second])
    instance("SET", "k", "v")
    with instance.client() as client:
        refused = client.raw("CONFIG", "SET", "nodes", second.address)
        assert first.address.encode() in refused and b"FAILOVER" in refused
        assert b"no server to stand in front of" in client.raw("CONFIG", "SET", "nodes", "")
        assert b"twice" in client.raw("CONFIG", "SET", "nodes", f"{first.address},{first.address}")
    rewrite(instance, nodes=[entry(second)], repl_timeout=44)
    status, _, body = ask(instance, "/api/v1/reload", "POST")
    assert status == 400 and "FAILOVER" in body
    assert in_force(instance)["repl-timeout"] == "60", "all or nothing"
    assert instance("FAILOVER") == "OK"
    wait_for(lambda: second.role() == "master", 20, "the switch")
    wait_for(lambda: instance.status()["ready"], 20, "readiness")
    wait_for(lambda: ask(instance, "/api/v1/reload", "POST")[0] == 200, 20, "the former primary may go now")
    assert set(weights(instance)) == {second.address}
    assert instance("GET", "k") == b"v"


def test_a_bad_file_changes_nothing_and_is_told_everywhere(lab, binary):
    instance = lab.instance([lab.server()])
    before = in_force(instance)
    assert metric(instance, "config_last_reload_successful") == 1
    good_at = metric(instance, "config_last_reload_success_timestamp_seconds")
    path = instance.dir / "sidestream.yaml"
    good = path.read_text()
    path.write_text("repl-timeout: soon\nlog: { level: error }\n")
    status, _, body = ask(instance, "/api/v1/reload", "POST")
    assert status == 400 and f"{path}:1:15: " in body and "nothing was changed" in body
    instance.signal(signal.SIGHUP)
    wait_for(lambda: instance.log_text().count("not reloaded") == 2, 10, "both in the log")
    assert in_force(instance) == before
    assert metric(instance, "config_last_reload_successful") == 0
    assert metric(instance, "config_last_reload_success_timestamp_seconds") == good_at
    events = [event["text"] for event in json.loads(ask(instance, "/api/v1/events")[2])]
    assert any(f"{path}:1:15: " in message for message in events), events
    path.write_text(good)
    assert ask(instance, "/api/v1/reload", "POST")[0] == 200
    assert metric(instance, "config_last_reload_successful") == 1


def test_what_needs_a_restart_is_named_until_there_was_one(lab, binary):
    instance = lab.instance([lab.server()])
    for _ in range(2):
        answer = reload(instance, threads=3, service_listen=f"{HOST}:{free_port()}", repl_timeout=99)
        assert answer["needs_restart"] == ["service-listen", "threads"]
    assert "threads was changed, but needs a restart" in instance.log_text()
    assert in_force(instance)["repl-timeout"] == "99"
    del instance.config["threads"], instance.config["service-listen"]
    assert reload(instance)["needs_restart"] == []


OTHER = {"fresh": "eventual", "yes": "no", "no": "yes"}
BY_HAND = {  # where the plainest other value would not do
    "nodes": None, "tls": None, "users": None, "masterauth": None, "requirepass": None, "log.file": None,
    "announce-ip": "127.0.0.1", "announce-port": None, "routing.rules": "keys=a*;reads=primary",
    "deny-commands": "FLUSHALL", "wipe-guard": "pass", "failover": "auto", "drain.hand-over": "no",
    "log.level": "verbose", "log.format": "json", "routing.prefer": "local", "upstream-ack": "quorum:1",
    "masteruser": None, "aclfile": None, "admin-token": None, "proxy-protocol": None, "node-client-name": None,
    "repl-backlog-compress": None,
}


def other_value(name, default):
    for prefix in (name, name.split(".")[0]):
        if prefix in BY_HAND:
            return BY_HAND[prefix]
    if name.endswith("-file"):
        return None
    number = re.fullmatch(r"(\d+)(\w*)", default)
    if number:
        return f"{int(number[1]) + 1}{number[2]}"
    return OTHER.get(default)


def test_every_option_that_says_live_is(lab, binary):
    """The reference says which; each takes another value by a reload, and none asks for a restart."""
    instance = lab.instance([lab.server()], log={"level": "notice"})
    reference = subprocess.run([str(binary), "--print-reference", "markdown"], capture_output=True, text=True,
                               check=True).stdout
    rows = re.findall(r"^\| `([\w.-]+)` \| `(.*?)` \| .*? \| live \| (.*)", reference, re.M)
    live = {name: other_value(name, default) for name, default, words in rows if "(planned)" not in words}
    wanted = {name: value for name, value in live.items() if value is not None}
    assert len(wanted) > 25, wanted
    nested = {}
    for name, value in wanted.items():
        *sections, last = name.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    nested["routing"]["rules"] = [{"keys": "a*", "reads": "primary"}]
    answer = reload(instance, **nested)
    assert answer["needs_restart"] == []
    assert set(wanted) <= set(answer["changed"])
    shown = in_force(instance)
    same = {name for name in wanted if shown[name] == dict((row[0], row[1]) for row in rows)[name]}
    assert not same, f"as they were: {same}"


def test_commands_are_denied_and_allowed_again(lab, binary):
    instance = lab.instance([lab.server()])
    with instance.client() as client:
        client("SET", "k", "v")
        reload(instance, deny_commands=["KEYS"])
        wait_for(lambda: b"deny-commands" in client.raw("KEYS", "*"), 10, "KEYS to be denied")
        assert client("CONFIG", "SET", "deny-commands", "") == "OK"
        wait_for(lambda: client.raw("KEYS", "*").startswith(b"*1"), 10, "KEYS to be allowed")


def test_nodes_learn_another_password(lab, binary):
    """Ours, which they need to follow us: also those that follow already."""
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica], requirepass="first")
    reload(instance, requirepass="second")
    instance.password = "second"
    wait_for(lambda: replica("CONFIG", "GET", "masterauth")[1] == b"second", 10, "the new password at the node")
    with instance.client() as client:
        client("CLIENT", "KILL", "TYPE", "replica")
    replica.wait_link()
