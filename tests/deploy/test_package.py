"""The Debian package in a bare Debian 12: installs, starts as its unit says, upgrades, is removed and purged."""

import re
import subprocess

import pytest

from chroots import Chroot, base

# As the unit starts it: its command, user, directory and mask, only without systemd.
START = """
unit() { sed -n "s/^$1=//p" /lib/systemd/system/sidestream.service; }
start() {
  cd /var/lib/sidestream
  umask "$(unit UMask)"
  setpriv --reuid "$(unit User)" --regid "$(unit Group)" --clear-groups --no-new-privs --bounding-set=-all \
    $(unit ExecStart) >/tmp/log 2>&1 &
  pid=$!
  sidestream wait --synced --timeout 60s || { cat /tmp/log; false; }
}
stop() { kill "$pid"; wait "$pid"; }
redis-server --port 6380 --save '' --daemonize yes
"""

LIFE = START + """
dpkg -i /sidestream_*-1_*.deb
test "$(stat -c '%a %U %G' /etc/sidestream/sidestream.yaml)" = '640 root sidestream'
test "$(stat -c '%a %U' /var/lib/sidestream)" = '750 sidestream'
systemctl is-enabled sidestream && exit 1
sidestream --version
start
redis-cli SET greeting hello
redis-cli REPLICAOF NO ONE
stop
echo '# mine' >>/etc/sidestream/sidestream.yaml
systemctl enable sidestream

dpkg -i /sidestream_*-2_*.deb
dpkg-query -W -f '${Version}\n' sidestream | grep -- '-2$'
grep -q '# mine' /etc/sidestream/sidestream.yaml
systemctl is-enabled sidestream
start
redis-cli GET greeting | grep hello
stop

dpkg --remove sidestream
test ! -e /usr/bin/sidestream
test -e /etc/sidestream/sidestream.yaml
test -d /var/lib/sidestream/sidestream-data
dpkg --purge sidestream
for gone in /etc/sidestream /var/lib/sidestream /var/log/sidestream /lib/systemd/system/sidestream.service \
    /etc/systemd/system/multi-user.target.wants/sidestream.service /usr/share/man/man1/sidestream.1.gz; do
  test ! -e "$gone"
done
dpkg -i /sidestream_*-2_*.deb
start
"""


def depends(package):
    listed = subprocess.run(["dpkg-deb", "-f", package, "Depends"], check=True, capture_output=True, text=True).stdout
    return [re.split(r"[ (|]", name.strip())[0] for name in listed.split(",")]


@pytest.fixture(scope="module")
def system(packages, tmp_path_factory):
    system = base([*depends(packages[0]), "redis-server", "redis-tools"])
    return Chroot(system, tmp_path_factory.mktemp("system"), packages)


def test_life_of_the_package(system):
    system.run(LIFE)


def test_contents(packages):
    listed = subprocess.run(["dpkg-deb", "-c", packages[0]], check=True, capture_output=True, text=True).stdout
    files = {line.split()[-1].removeprefix(".") for line in listed.splitlines() if not line.endswith("/")}
    assert files == {"/usr/bin/sidestream", "/etc/sidestream/sidestream.yaml",
                     "/lib/systemd/system/sidestream.service", "/usr/lib/sysusers.d/sidestream.conf",
                     "/usr/lib/tmpfiles.d/sidestream.conf", "/usr/share/man/man1/sidestream.1.gz",
                     "/usr/share/doc/sidestream/copyright", "/usr/share/doc/sidestream/changelog.Debian.gz"}
