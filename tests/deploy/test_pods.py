"""The chart's stack as it is rendered, three times, with real Sentinels: started, its primary killed, rolled."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charts import render
from chroots import base
from conftest import ROOT, build_directory
from test_package import depends
from transcripts import require_namespaces

VALUES = {
    "image": {"repository": "sidestream"},
    "node": {"flavour": "redis", "image": {"repository": "redis", "tag": "7.0"}},
    "auth": {"existingSecret": "redis-password", "key": "redis"},
    "config": {"log": {"level": "verbose", "format": "text"}, "drain": {"grace": "1s"}},
    "sentinel": {"downAfterMilliseconds": 2000, "failoverTimeout": 10000},
}


@pytest.fixture(scope="module")
def image_root(tmp_path_factory):
    """The image's file system, with what is built here."""
    root = tmp_path_factory.mktemp("image") / "root"
    subprocess.run([ROOT / "deploy/image/assemble", build_directory(), root], check=True)
    return root


@pytest.fixture(scope="module")
def server_root(packages):
    """Stands for the image of Redis: a system that has it."""
    return base([*depends(packages[0]), "redis-server", "redis-tools"])


def require(*tools):
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed (deploy/packages deploy)")
    if os.geteuid() != 0:
        pytest.skip("namespaces of networks take root")
    require_namespaces()


def test_the_image_runs_without_shell_root_or_a_writable_file_system(image_root, tmp_path):
    require("bwrap")
    files = {path.name for path in image_root.rglob("*") if path.is_file()}
    assert not files & {"sh", "bash", "dash", "busybox", "apt", "dpkg"}
    assert sum(path.stat().st_size for path in image_root.rglob("*") if path.is_file()) < 25 << 20
    line = ["bwrap", "--die-with-parent", "--ro-bind", image_root, "/", "--proc", "/proc", "--dev", "/dev",
            "--unshare-all", "--uid", "65532", "--gid", "65532", "--cap-drop", "ALL", "--", "/usr/bin/sidestream"]
    done = subprocess.run([*line, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("sidestream "), done.stderr
    line += ["--config", "/etc/sidestream/sidestream.yaml", "--node", "redis:6379", "--check-config"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.stdout == "configuration OK\n", done.stderr


def test_three_pods_and_sentinels(image_root, server_root, tmp_path):
    require("bwrap", "ip", "unshare")
    given = tmp_path / "given.json"
    given.write_text(json.dumps({
        "manifests": render(VALUES).manifests, "place": str(tmp_path / "pods"),
        "images": {"sidestream": str(image_root), "node": str(server_root), "sentinel": str(server_root)}}))
    (tmp_path / "pods").mkdir()
    script = Path(__file__).with_name("three_pods.py")
    done = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
                           sys.executable, script, given], capture_output=True, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
