"""The image: what its Dockerfile and the compose file promise; built for real with SIDESTREAM_TEST_LONG=1."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from chroots import base
from conftest import ROOT
from harness import BINARY

DOCKERFILE = ROOT / "deploy/image/Dockerfile"
COMPOSE = ROOT / "deploy/image/compose.yaml"


def instructions(text):
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.M))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def last_stage():
    found = instructions(DOCKERFILE.read_text())
    begins = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[begins:]


def test_the_last_stage_is_small_and_has_no_root():
    stage = last_stage()
    assert stage[0] == ("FROM", "scratch")
    assert not [name for name, _ in stage if name in ("RUN", "ADD")]
    words = dict(stage)
    assert words["USER"] == "65532:65532" and words["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(words["ENTRYPOINT"]) == ["/usr/bin/sidestream"]
    labels = re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", words["LABEL"])
    assert {"title", "description", "version", "revision", "licenses", "base.name"} <= set(labels)


def test_no_image_without_a_version():
    named = re.findall(r"^(?:FROM|ARG BASE=)\s*(\S+)", DOCKERFILE.read_text(), re.M)
    named += [service["image"] for service in yaml.safe_load(COMPOSE.read_text())["services"].values()]
    named = [name for name in named if name not in ("scratch", "${BASE}")]
    assert all(re.search(r":[\w.-]+$", name) and not name.endswith(":latest") for name in named), named


def test_compose_starts_what_the_product_accepts(tmp_path):
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    command = services["sidestream"]["command"]
    assert command[:2] == ["--config", "/etc/sidestream/sidestream.yaml"]
    shutil.copy(ROOT / "deploy/image/sidestream.yaml", tmp_path)
    done = subprocess.run([BINARY, "--config", tmp_path / "sidestream.yaml", *command[2:], "--check-config"],
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "configuration OK\n"), done.stderr
    named = {word.split(":")[0] for word in command if word.endswith(":6379")}
    assert named == set(services) - {"sidestream"} == set(services["sidestream"]["depends_on"])
    for name, service in services.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert all(port.startswith("127.0.0.1:") for port in services["sidestream"]["ports"])


@pytest.mark.skipif(not os.environ.get("SIDESTREAM_TEST_LONG"), reason="minutes; SIDESTREAM_TEST_LONG=1 builds it")
def test_build(tmp_path):
    """With no registry and no engine: the base image is made by mmdebstrap under the name that the Dockerfile uses."""
    for tool in ("buildah", "skopeo"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed (deploy/packages image)")
    store = ["--root", tmp_path / "root", "--runroot", tmp_path / "run"]

    def buildah(*words):
        done = subprocess.run(["buildah", "--storage-driver", "vfs", *store, *words], capture_output=True, text=True,
                              cwd=ROOT)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout.strip()
    container = buildah("from", "scratch")
    buildah("add", container, base(["ca-certificates"]), "/")
    buildah("commit", container, "docker.io/library/debian:bookworm")
    buildah("bud", "--isolation", "chroot", "--pull-never", "-f", DOCKERFILE, "-t", "localhost/sidestream:test", ".")
    target = f"oci:{tmp_path}/oci:test"
    source = f"containers-storage:[vfs@{tmp_path}/root+{tmp_path}/run]localhost/sidestream:test"
    subprocess.run(["skopeo", "copy", "--quiet", source, target], check=True)
    told = json.loads(subprocess.run(["skopeo", "inspect", "--config", target], check=True, capture_output=True).stdout)
    assert told["config"]["User"] == "65532:65532"
    assert sum(path.stat().st_size for path in (tmp_path / "oci").rglob("*")) < 15 << 20
    mounted = buildah("mount", buildah("from", "--pull-never", "localhost/sidestream:test"))
    done = subprocess.run(["bwrap", "--ro-bind", mounted, "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all",
                           "--uid", "65532", "--gid", "65532", "--cap-drop", "ALL", "--",
                           "/usr/bin/sidestream", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("sidestream "), done.stderr
