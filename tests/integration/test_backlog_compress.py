"""repl-backlog-compress: what is full of the history on disk is compressed, and nobody who reads it notices."""

import re

import pytest

from harness import wait_converged, wait_for
from test_backlog_disk import on_disk, restart


def ratio(instance):
    return float(re.search(r"backlog_compress_ratio:([\d.]+)", instance("INFO", "sidestream").decode()).group(1))


def write(primary, instance, megabytes):
    with primary.client() as client:
        for number in range(megabytes * 10):
            client("SET", f"page:{number % 50}", f"<li>{number} and so on</li>" * 4000)
    on_disk(instance, primary)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_replica_that_was_away_is_served_from_compressed_history(lab, binary, how):
    primary, replica = lab.server(repl_backlog_size="1mb"), lab.server()
    instance = lab.instance([primary], repl_backlog_size="1mb", repl_backlog_disk_size="8mb",
                            repl_backlog_compress="zstd")
    replica.replicaof(instance)
    replica.wait_link()
    wait_converged(primary, [replica])
    replica.pause()
    first = instance.offset() + 1
    for _ in range(3):
        write(primary, instance, 5)
        wait_for(lambda: ratio(instance) > 5, 60, "the history to be compressed")
        wait_for(lambda: instance.status()["backlog"]["disk_bytes"] < 2 << 20, 60, "all of it to be")
    assert instance.status()["backlog"]["first"] <= first, "15 MB of history in 8 MB"
    size = instance.status()["backlog"]["disk_bytes"]
    files = sum(path.stat().st_size for path in (instance.dir / "data" / "backlog").iterdir())
    assert abs(files - size) < 256 << 10, "counted as it lies there"
    restart(instance, how)
    instance.wait_ready()
    assert instance.status()["backlog"]["first"] <= first and ratio(instance) > 5
    replica.resume()
    wait_converged(primary, [replica])
    assert instance.counters()["full_syncs"] == 0 and instance.counters()["partial_syncs"] >= 1


def test_at_run_time(lab, binary):
    primary, replica = lab.server(repl_backlog_size="1mb"), lab.server()
    instance = lab.instance([primary], repl_backlog_size="1mb", repl_backlog_disk_size="8mb")
    replica.replicaof(instance)
    replica.wait_link()
    write(primary, instance, 5)
    assert ratio(instance) == 1
    assert instance("CONFIG", "SET", "repl-backlog-compress", "zstd") == "OK"
    wait_for(lambda: ratio(instance) > 5, 60, "the history to be compressed")
