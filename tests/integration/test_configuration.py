"""Configuration seen from the shell: every error with its place and a remedy, precedence, exit codes."""

import os
import re
import signal
import socket
import subprocess

import pytest

from harness import HOST, free_port, wait_for

BROKEN = """listen: 127.0.0.1:70000
repl-backlog-sise: 64mb
repl-timeout: soon
dir: /tmp/a
dir: /tmp/b
nodes:
  - address: nowhere
    wieght: 5
routing:
  reads: freshest
  max-lag: 10parsecs
hold: { timeout: 1s, max-byte: 1mb }
replica-serve-stale-data: perhaps
replicaof: "a b c"
"""

MISTAKES = [                                 # line, word in the message, what it should suggest
    (1, "70000", None), (2, "repl-backlog-sise", "repl-backlog-size"), (3, "soon", None), (5, "dir", None),
    (7, "nowhere", None), (8, "wieght", "weight"), (10, "freshest", "fresh"), (11, "10parsecs", None),
    (12, "max-byte", "max-bytes"), (13, "perhaps", "yes"), (14, "a b c", None),
]


NODE = "nodes: [{ address: 127.0.0.1:6380 }]\n"


def run(binary, *arguments, env=None, timeout=20):
    return subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          check=False, env={**os.environ, **(env or {})})


def written(tmp_path, text):
    path = tmp_path / "sidestream.yaml"
    path.write_text(text)
    return path


def test_all_mistakes_are_reported_at_once_with_their_places(tmp_path, binary):
    path = written(tmp_path, BROKEN)
    done = run(binary, "--config", path, "--check-config")
    assert done.returncode == 1
    text = done.stdout + done.stderr
    found = {}
    for line in text.splitlines():
        match = re.match(rf"{re.escape(str(path))}:(\d+):(\d+): (.+)", line)
        if match:
            found.setdefault(int(match[1]), []).append((int(match[2]), match[3]))
    for number, word, remedy in MISTAKES:
        messages = found.get(number, [])
        assert any(word in message for _, message in messages), f"line {number}: {word}\n{text}"
        assert remedy is None or any(remedy in message for _, message in messages), f"{word} -> {remedy}?\n{text}"
        assert all(column >= 1 for column, _ in messages)
    assert set(found) == {number for number, _, _ in MISTAKES}, text


def test_columns_point_at_the_mistake(tmp_path, binary):
    path = written(tmp_path, "nodes: [ { address: '127.0.0.1:1', wieght: 5 } ]\n")
    done = run(binary, "--config", path, "--check-config")
    column = "nodes: [ { address: '127.0.0.1:1', wieght: 5 } ]".index("wieght") + 1
    assert f"{path}:1:{column}: " in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["listen: [127.0.0.1:1\n", "a: b: c\n", "- just\n- a list\n", "listen: {a: b}\n",
                                  "nodes: 5\n", "listen: \"\\q\"\n", "\tlisten: x\n"])
def test_text_that_is_no_configuration(tmp_path, binary, text):
    path = written(tmp_path, text)
    done = run(binary, "--config", path, "--check-config")
    assert done.returncode == 1
    assert re.search(rf"{re.escape(str(path))}:\d+:\d+: ", done.stdout + done.stderr)


def test_a_broken_file_stops_the_start(tmp_path, binary):
    done = run(binary, "--config", written(tmp_path, BROKEN))
    assert done.returncode == 1 and ":2:1: " in done.stdout + done.stderr


def test_good_and_empty_files(tmp_path, binary):
    for text in ("", "# nothing\n", "replicaof: 127.0.0.1:2\nrepl-timeout: 1m\nrepl-backlog-size: 1gb\n"):
        done = run(binary, "--config", written(tmp_path, text), "--node", f"{HOST}:1", "--check-config")
        assert (done.returncode, done.stdout.strip()) == (0, "configuration OK"), done.stderr
    done = run(binary, "--config", written(tmp_path, "repl-timeout: 1m\n"), "--check-config")
    assert done.returncode == 1 and "--node" in done.stderr + done.stdout, "nobody to stand in front of"


def test_missing_file_and_usage(tmp_path, binary):
    assert run(binary, "--config", tmp_path / "none.yaml", "--check-config").returncode == 1
    for arguments in (["--no-such-flag"], ["nosuchcommand"], ["--set"], ["wait", "--nosuch"], ["--set", "no-such=1"]):
        done = run(binary, *arguments)
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert done.stderr.strip()
    for flag in ("--help", "--version"):
        done = run(binary, flag)
        assert done.returncode == 0 and done.stdout.strip()


def test_precedence_flag_environment_file(tmp_path, binary):
    path = written(tmp_path, NODE + "repl-timeout: 11\nlog: { level: debug }\n")

    def effective(*flags, **env):
        done = run(binary, "--config", path, "--print-config", *flags, env=env)
        assert done.returncode == 0, done.stderr
        return re.search(r"^repl-timeout: *(\w+)", done.stdout, re.M)[1].rstrip("s")
    assert effective() == "11"
    assert effective(SIDESTREAM_REPL_TIMEOUT="22") == "22"
    assert effective("--set", "repl-timeout=33", SIDESTREAM_REPL_TIMEOUT="22") == "33"


def test_secrets_are_not_printed(tmp_path, binary):
    path = written(tmp_path, NODE + "requirepass: top-hush\nmasterauth: ${SECRET}\n")
    done = run(binary, "--config", path, "--print-config", env={"SECRET": "other-hush"})
    assert done.returncode == 0 and "requirepass" in done.stdout and "hush" not in done.stdout


def test_variables_in_the_file(tmp_path, binary):
    path = written(tmp_path, NODE + "repl-timeout: ${T:-44}\nreplica-priority: ${P}\n")
    done = run(binary, "--config", path, "--print-config", env={"P": "7"})
    for expected in (r"^repl-timeout: *44", r"^replica-priority: *7"):
        assert re.search(expected, done.stdout, re.M)
    missing = run(binary, "--config", path, "--check-config")
    assert missing.returncode == 1 and f"{path}:3:" in missing.stdout + missing.stderr


def test_a_taken_port_is_exit_code_3(tmp_path, binary):
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = run(binary, "--node", f"{HOST}:1", "--listen", f"{HOST}:{port}", "--admin", f"{HOST}:{free_port()}",
                   "--dir", tmp_path / "data")
    assert done.returncode == 3 and str(port) in done.stdout + done.stderr


def test_an_unusable_directory_is_reported(tmp_path, binary):
    (tmp_path / "file").write_text("")
    done = run(binary, "--node", f"{HOST}:1", "--listen", f"{HOST}:{free_port()}", "--admin", f"{HOST}:{free_port()}",
               "--dir", tmp_path / "file" / "data")
    assert done.returncode in (1, 4) and "file/data" in done.stdout + done.stderr


def test_reload_by_signal(lab, binary):
    """SIGHUP takes what can change at run time; a broken file changes nothing and is reported."""
    instance = lab.instance([lab.server()])
    path = instance.dir / "sidestream.yaml"
    text = path.read_text()
    path.write_text(text.rstrip().rstrip("}") + ', "repl-timeout": 17}\n')
    instance.signal(signal.SIGHUP)
    wait_for(lambda: instance("CONFIG", "GET", "repl-timeout") == [b"repl-timeout", b"17"], 10, "the new value")
    path.write_text("repl-timeout: soon\n")
    instance.signal(signal.SIGHUP)
    wait_for(lambda: "soon" in instance.log_text(), 10, "the mistake in the log")
    assert instance("CONFIG", "GET", "repl-timeout") == [b"repl-timeout", b"17"]


def test_subcommands(lab, binary):
    instance = lab.instance([lab.server(), lab.server()])
    admin = f"{HOST}:{instance.admin_port}"
    for flag in ("--ready", "--synced"):
        assert run(binary, "wait", "--admin", admin, flag, "--timeout", "10s").returncode == 0
    done = run(binary, "status", "--admin", admin)
    assert done.returncode == 0
    for node in instance.config["nodes"]:
        assert node["address"] in done.stdout
    assert '"nodes"' in run(binary, "status", "--admin", admin, "--json").stdout
    nobody = run(binary, "status", "--admin", f"{HOST}:{free_port()}")
    assert nobody.returncode != 0 and nobody.stderr.strip()
    assert run(binary, "wait", "--admin", f"{HOST}:{free_port()}", "--ready", "--timeout", "300ms").returncode != 0


def test_two_instances_never_share_a_directory(lab):
    """Each would take the other's files for leftovers. A killed one leaves no lock behind."""
    primary = lab.server()
    first = lab.instance([primary])
    second = lab.instance([primary], dir=first.config["dir"], start=False).start()
    assert second.process.wait(20) == 4
    words = second.log_text()
    assert f"is used by another instance (process {first.process.pid})" in words and "a dir of its own" in words
    assert first.alive()
    first.kill()
    second.start().wait_up()
    second.wait_ready()
