"""Small Debian 12 systems in a directory, with processes, mounts and network of their own.

Happy path: `base()` makes one with mmdebstrap and keeps it packed below .cache; `Chroot` unpacks a copy, and `run()`
runs a shell script in it: loopback only, so fixed ports are free. Failure modes: without root, mmdebstrap or a package
mirror the test is skipped and says which; a script that fails raises with all it printed.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import CACHE

# In namespaces of their own: whatever the script leaves running ends with it.
ENTER = """
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
ip link set lo up
exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 sh -eux /script
"""


def base(packages):
    """A packed system with these packages."""
    for tool in ("mmdebstrap", "unshare", "ip"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed (deploy/packages deploy)")
    if os.geteuid() != 0:
        pytest.skip("a chroot takes root")
    names = ",".join(sorted(packages))
    packed = CACHE / "chroot" / f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.tar"
    if not packed.exists():
        packed.parent.mkdir(parents=True, exist_ok=True)
        fresh = packed.with_suffix(f".{os.getpid()}.tar")
        made = subprocess.run(["mmdebstrap", "--variant=minbase", "--mode=root", f"--include={names}",
                               "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
                               "bookworm", fresh], capture_output=True, text=True)
        if made.returncode != 0:
            pytest.skip(f"mmdebstrap could not make a system: {made.stderr.strip().splitlines()[-1]}")
        fresh.rename(packed)
    return packed


class Chroot:
    def __init__(self, packed, place):
        self.root = Path(place)
        self.root.mkdir(exist_ok=True)
        subprocess.run(["tar", "-xf", packed, "-C", self.root], check=True)

    def run(self, script, timeout=120):
        """Returns what the script printed."""
        (self.root / "script").write_text(script)
        done = subprocess.run(["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-ec",
                               ENTER, self.root], capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)
