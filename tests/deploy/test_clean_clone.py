"""Both commands of the README, from a clean clone in a bare Debian 12: SIDESTREAM_TEST_LONG=1; takes the network."""

import os
import subprocess
from pathlib import Path

import pytest

from chroots import Chroot, base
from conftest import ROOT

pytestmark = pytest.mark.skipif(not os.environ.get("SIDESTREAM_TEST_LONG"),
                                reason="many minutes; SIDESTREAM_TEST_LONG=1 does it")
BEFORE = """
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
git clone -q /sidestream.bundle /sidestream
cd /sidestream
"""


@pytest.fixture
def clone(tmp_path):
    """What is committed, and nothing else."""
    bundle = tmp_path / "sidestream.bundle"
    subprocess.run(["git", "-C", ROOT, "bundle", "create", "-q", bundle, "HEAD"], check=True)
    system = tmp_path / "system"
    system.mkdir()
    return Chroot(base(["ca-certificates", "git"]), system, [bundle, Path("/etc/resolv.conf").resolve()])


@pytest.mark.parametrize("command, says", [("./deploy/quickstart --once", "answered"),
                                           ("./tests/run", " passed, 0 failed, ")])
def test_readme_command(clone, command, says):
    assert command.split()[0] in (ROOT / "README.md").read_text()
    printed = clone.run(BEFORE + f"cp /resolv.conf /etc/resolv.conf || true\n{command}\n", timeout=7200, network=True)
    assert says in printed
