"""Small Debian 12 systems in a directory, with processes, mounts and network of their own.

Happy path: `base()` makes one with mmdebstrap, kept below .cache; `Chroot` is an overlay over it (a copy where the
kernel does not allow that), and `run()` runs a shell script there: loopback only, so fixed ports are free.
Failure modes: without root, mmdebstrap or a package mirror the test is skipped and says which; a script that fails
raises with all it printed.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import CACHE, alone
from transcripts import require_namespaces

# A system of one's own over the one in $1, in $0/root; a copy where the kernel has no overlays, as on another overlay.
OVERLAY = """
mkdir -p "$0/root" "$0/upper" "$0/work"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$0/upper,workdir=$0/work" "$0/root" || cp -a "$1/." "$0/root"
"""

# In namespaces of their own: whatever the script leaves running ends with it.
ENTER = OVERLAY + """
cp "$0/files/"* "$0/root"
set -- "$0/root"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
ip link set lo up
exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 sh -eux /script
"""


def base(packages):
    """The directory of a system with these packages; not to be changed."""
    for tool in ("mmdebstrap", "unshare", "ip"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed (deploy/packages deploy)")
    if os.geteuid() != 0:
        pytest.skip("a chroot takes root")
    require_namespaces()
    names = ",".join(sorted(packages))
    place = CACHE / "chroot" / hashlib.sha256(names.encode()).hexdigest()[:16]
    with alone("chroot"):
        if not place.exists():
            make(names, place)
    return place


def make(names, place):
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as beside:
        fresh = Path(beside) / "system"
        made = subprocess.run(["mmdebstrap", "--variant=minbase", "--mode=root", f"--include={names}",
                               "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/locale/*",
                               "--dpkgopt=path-exclude=/usr/share/doc/*",
                               "bookworm", fresh], capture_output=True, text=True)
        if made.returncode != 0:
            pytest.skip(f"mmdebstrap could not make a system: {made.stderr.strip().splitlines()[-1]}")
        fresh.rename(place)


class Chroot:
    """`files`: paths of what is to lie in its top directory. What a script leaves is there for the next one where the
    kernel has overlays."""

    def __init__(self, system, place, files):
        self.system, self.place = system, Path(place)
        (self.place / "files").mkdir()
        for file in files:
            shutil.copy(file, self.place / "files")

    def run(self, script, timeout=120, network=False):
        """Returns what the script printed. With `network` that of this machine instead of a loopback of its own."""
        (self.place / "files/script").write_text(script)
        own = [] if network else ["--net"]
        done = subprocess.run(["unshare", "--mount", *own, "--pid", "--ipc", "--fork", "--kill-child", "sh", "-ec",
                               ENTER, self.place, self.system], capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout
