"""Metrics: well-formed for promtool, true, bounded; and stock's own exporter sees a stock server in an instance."""

import re
import shutil
import subprocess
import time
import urllib.request

import pytest

from harness import HOST, free_port, wait_for


def scrape(instance):
    with urllib.request.urlopen(f"http://{HOST}:{instance.admin_port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def value(text, name, **labels):
    """The sum of the samples of this name that carry these labels."""
    wanted = {f'{key}="{word}"' for key, word in labels.items()}
    found = [float(number) for sample, in_braces, number in re.findall(r"^([\w:]+)(?:\{(.*)\})? (\S+)$", text, re.M)
             if sample == name and wanted <= set(re.findall(r'\w+="[^"]*"', in_braces))]
    assert found, f"{name} {labels} is not there"
    return sum(found)


@pytest.fixture
def group(lab, binary):
    primary, replica = lab.servers(2)
    return lab.instance([primary, replica])


def test_promtool_has_nothing_to_say(group):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian's prometheus)")
    done = subprocess.run(["promtool", "check", "metrics"], input=scrape(group), text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_and_their_times(group):
    client = group.client()
    for i in range(20):
        client("SET", f"k{i}", "v")
        client("GET", f"k{i}")
    client("MULTI"), client("INCR", "n"), client("EXEC")
    text = scrape(group)
    assert value(text, "sidestream_commands_total", **{"class": "write"}) == 20
    assert value(text, "sidestream_commands_total", **{"class": "read"}) == 20
    assert value(text, "sidestream_commands_total", **{"class": "transaction"}) == 2
    timed = {kind: value(text, "sidestream_command_duration_seconds_count", **{"class": kind})
             for kind in ("read", "write", "private")}
    assert timed["write"] == 20 and timed["read"] >= 20 and timed["private"] >= 1
    buckets = [float(n) for n in re.findall(
        r'^sidestream_command_duration_seconds_bucket\{class="write",route="primary",le="[^"]+"\} (\S+)', text, re.M)]
    assert buckets == sorted(buckets) and buckets[-1] == 20
    assert 0 < value(text, "sidestream_command_duration_seconds_sum", **{"class": "write"}) < 60


def test_a_slow_command_is_found(group):
    client = group.client()
    client("CONFIG", "SET", "slow-log.above", "50ms")
    time.sleep(0.2)  # the loops look at it ten times a second
    client("DEBUG", "SLEEP", "0.2")
    client("SET", "k", "v")
    slow = client("SIDESTREAM", "SLOWLOG")
    when, command, node, there_us, here_us, peer = slow[0]
    assert (command, here_us) == (b"DEBUG", 0) and 200_000 <= there_us < 60_000_000
    assert node.decode() in {entry["address"] for entry in group.status()["nodes"]} and peer.startswith(b"127.0.0.1:")
    assert abs(when / 1000 - time.time()) < 600
    assert client("SIDESTREAM", "SLOWLOG", "0") == []
    assert client("SIDESTREAM", "SLOWLOG", "RESET") == "OK" and client("SIDESTREAM", "SLOWLOG") == []
    latency = client("SIDESTREAM", "LATENCY").decode()
    private = next(line.split() for line in latency.splitlines() if line.split()[:2] == ["primary", "private"])
    assert int(private[2]) >= 1 and int(private[6]) >= 200_000


def test_what_may_block_is_not_timed(group):
    before = value(scrape(group), "sidestream_command_duration_seconds_count", **{"class": "private"})
    client = group.client()
    assert client("BLPOP", "nothing", "0.2") is None
    assert value(scrape(group), "sidestream_command_duration_seconds_count", **{"class": "private"}) == before


def test_a_held_write_is_seen_while_it_waits(lab, binary):
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica], hold={"timeout": "60s"})
    client = instance.client(timeout=60)
    client("SET", "k", "1")
    primary.pause()
    wait_for(lambda: value(scrape(instance), "sidestream_primary_known") == 0, 20, "the silence to be noticed")
    client.send("SET", "k", "2")
    wait_for(lambda: value(scrape(instance), "sidestream_held_writes") == 1, 10, "the held write in the metrics")
    assert instance.status()["clients"]["held"] == 1
    primary.resume()
    assert client.read() == "OK"
    text = scrape(instance)
    assert value(text, "sidestream_held_writes") == 0
    assert value(text, "sidestream_held_write_duration_seconds_count") == 1


def test_full_syncs_are_timed(lab, binary):
    primary, replica = lab.servers(2)
    instance = lab.instance([primary, replica])
    wait_for(lambda: value(scrape(instance), "sidestream_sync_duration_seconds_count", kind="full") >= 1, 10,
             "the sync of the node in the histogram")


def test_labels_do_not_grow_with_what_clients_do(group):
    names = re.compile(r"^(\w+(?:\{[^}]*\})?) ", re.M)
    before = set(names.findall(scrape(group)))
    for i in range(50):
        with group.client() as client:
            client("SET", f"key-{i}", "v")
            client.raw(f"NOSUCH{i}", "x")
    assert set(names.findall(scrape(group))) == before


def exported(server, lab):
    """Names of metrics that redis_exporter gives for a server."""
    port = free_port()
    exporter = subprocess.Popen(["prometheus-redis-exporter", "--redis.addr", f"redis://{HOST}:{server.port}",
                                 "--web.listen-address", f"{HOST}:{port}"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def ask():
            with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            return text if "\nredis_up 1" in text else None
        text = wait_for(ask, 15, "redis_exporter to reach the server")
    finally:
        exporter.kill()
        exporter.wait()
    return {name for name in re.findall(r"^(redis_\w+)", text, re.M)}


def test_redis_exporter_sees_a_stock_server(lab, binary):
    if not shutil.which("prometheus-redis-exporter"):
        pytest.skip("prometheus-redis-exporter is not installed")
    stock, stock_replica, primary, replica = lab.servers(4)
    stock_replica.replicaof(stock)
    stock_replica.wait_link()
    instance = lab.instance([primary, replica])
    for server in (stock, instance):
        server("SET", "k", "v"), server("GET", "k")
    differing = {"redis_exporter_last_scrape_duration_seconds"}
    assert exported(instance, lab) - differing == exported(stock, lab) - differing
