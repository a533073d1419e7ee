"""As a service: what systemd is told and when, the unit file, the manual page."""

import os
import re
import shutil
import signal
import socket
import subprocess

import pytest
import yaml

from conftest import ROOT
from harness import BINARY, wait_for

UNIT = ROOT / "deploy/systemd/sidestream.service"


class FakeSystemd:
    """The socket behind NOTIFY_SOCKET. `name`: a path, or with a leading zero byte an abstract name."""

    def __init__(self, name, watchdog_us=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name)
        self.socket.settimeout(0.05)
        self.environment = {"NOTIFY_SOCKET": name.replace("\0", "@")}
        if watchdog_us:
            self.environment["WATCHDOG_USEC"] = str(watchdog_us)
        self.heard = []

    def close(self):
        self.socket.close()

    def hears(self, wanted):
        """How often `wanted`, a regular expression, was said; takes what has arrived."""
        try:
            while True:
                self.heard.append(self.socket.recv(4096).decode())
        except (TimeoutError, socket.timeout):
            pass
        return sum(bool(re.search(wanted, message, re.M)) for message in self.heard)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(lab, tmp_path, abstract):
    systemd = lab.closing(FakeSystemd(f"\0sidestream-{os.getpid()}" if abstract else str(tmp_path / "notify"), 400_000))
    instance = lab.instance([lab.server()], environment=systemd.environment)
    wait_for(lambda: systemd.hears("^READY=1$"), 10, "READY=1")
    wait_for(lambda: systemd.hears("^WATCHDOG=1$") > 3, 10, "a heartbeat again and again")
    wait_for(lambda: systemd.hears("^STATUS=primary, ready, offset [0-9]+, 1 of 1 nodes online$"), 10, "its status")
    assert systemd.hears("^STOPPING=1$") == 0
    instance.signal(signal.SIGTERM)
    wait_for(lambda: systemd.hears("^STOPPING=1$"), 10, "STOPPING=1")
    assert instance.process.wait(30) == 0


def test_a_loop_that_hangs_sends_no_heartbeat(lab, tmp_path):
    systemd = lab.closing(FakeSystemd(str(tmp_path / "notify"), 400_000))
    instance = lab.instance([lab.server()], environment=systemd.environment)
    wait_for(lambda: systemd.hears("^WATCHDOG=1$"), 10, "a heartbeat")
    instance.pause()
    systemd.hears("")
    before = systemd.hears("^WATCHDOG=1$")
    with pytest.raises(subprocess.TimeoutExpired):
        instance.process.wait(1)
    assert systemd.hears("^WATCHDOG=1$") == before
    instance.resume()
    wait_for(lambda: systemd.hears("^WATCHDOG=1$") > before, 10, "a heartbeat again")


def test_ready_is_said_though_the_primary_is_away(lab, tmp_path):
    systemd = lab.closing(FakeSystemd(str(tmp_path / "notify")))
    lab.instance([{"address": "127.0.0.1:1"}], ready=False, environment=systemd.environment)
    wait_for(lambda: systemd.hears("^READY=1$"), 10, "READY=1")
    wait_for(lambda: systemd.hears("^STATUS=primary, not ready.*127.0.0.1:1"), 10, "what is the matter")
    assert systemd.hears("WATCHDOG") == 0, "nobody asked for it"


def test_a_socket_that_is_not_there_does_no_harm(lab):
    instance = lab.instance([lab.server()], environment={"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "x"})
    assert instance("PING") == "PONG"


def analyze(*arguments):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_unit_is_valid(tmp_path):
    """A key that systemd does not know is a warning only, so nothing at all may be said."""
    unit = tmp_path / "sidestream.service"
    unit.write_text(UNIT.read_text().replace("ExecStart=sidestream", f"ExecStart={BINARY}"))
    assert analyze("verify", "--man=no", unit) == (0, "")
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in analyze("verify", "--man=no", unit)[1]


def test_unit_is_hardened():
    code, text = analyze("security", "--offline=true", "--threshold=15", UNIT)
    assert code == 0, text


def test_unit_stops_after_the_drain():
    """The grace, and the time limit once for the handover and once for the clients."""
    drain = yaml.safe_load((ROOT / "config/sidestream.yaml").read_text())["drain"]
    grace, timeout = (int(drain[key].removesuffix("s")) for key in ("grace", "timeout"))
    assert int(re.search(r"TimeoutStopSec=(\d+)", UNIT.read_text())[1]) >= grace + 2 * timeout + 15


def test_manual_page_tells_every_flag():
    """Those of --help, no more and no less."""
    page = (ROOT / "deploy/man/sidestream.1").read_text().replace("\\-", "-")
    told = set(re.findall(r"(--[a-z-]+)", page))
    helps = [subprocess.run([BINARY, *words, "--help"], capture_output=True, text=True, check=True).stdout
             for words in ([], ["status"], ["wait"], ["drain"], ["upgrade"])]
    assert told == set(re.findall(r"(--[a-z-]+)", "\n".join(helps)))
    assert set(re.findall(r"^\.B sidestream ([a-z]+)$", page, re.M)) == {"status", "wait", "drain", "upgrade"}


def test_manual_page_is_well_formed():
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    done = subprocess.run(["groff", "-man", "-t", "-Tutf8", "-ww", "-z", ROOT / "deploy/man/sidestream.1"],
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
