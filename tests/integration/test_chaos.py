"""The chaos run, short: whatever happens to links, servers and roles, nothing that was promised is broken.

Happy path: `tests/chaos/run` for ten seconds finds nothing. Its own test: with `reads: eventual`, where old values are
allowed, the same checkers find some; a run that cannot fail would prove nothing.
"""

import json
import subprocess
import sys

from harness import ROOT


def chaos(tmp_path, *arguments):
    """(exit code, figures, what it said)"""
    path = tmp_path / "figures.json"
    done = subprocess.run([sys.executable, ROOT / "tests/chaos/run", "--json", path, *map(str, arguments)],
                          capture_output=True, text=True, timeout=600)
    figures = json.loads(path.read_text()) if path.exists() else {}
    return done.returncode, figures, done.stdout + done.stderr


def test_nothing_promised_is_broken(binary, tmp_path):
    code, figures, said = chaos(tmp_path, "--seconds", 10, "--seed", 3, "--keep-logs")
    assert code == 0, said
    assert figures["troubles"].get("planned_promotion") and figures["troubles"].get("unplanned_promotion")
    assert figures["judged_reads"] > 1000 and figures["reads_by_replicas"] > 0


def test_the_checkers_find_old_values(binary, tmp_path):
    code, figures, said = chaos(tmp_path, "--seconds", 8, "--seed", 1, "--reads", "eventual", "--no-promotions")
    assert code == 1, said
    assert figures["found"].keys() == {"stale"}, said
