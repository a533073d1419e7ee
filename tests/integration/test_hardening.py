"""What makes an error in the program hard to use: how it is built, what its memory may do, whom it runs as."""

import os
import pwd
import re
import shutil
import subprocess

import pytest

from harness import BINARY, HOST, wait_for

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def readelf(*words):
    if not shutil.which("readelf"):
        pytest.skip("readelf is missing: apt install binutils")
    return subprocess.run(["readelf", "-W", *words, str(BINARY)], capture_output=True, text=True, check=True).stdout


def test_the_program_is_built_hardened(binary):
    header, segments, dynamic = readelf("-h"), readelf("-l"), readelf("-d")
    symbols = readelf("--dyn-syms")
    assert re.search(r"Type:\s+DYN", header), "position independent"
    assert "GNU_RELRO" in segments and re.search(r"BIND_NOW|FLAGS_1.*NOW", dynamic), "full RELRO"
    assert re.search(r"GNU_STACK\s.*\sRW\s", segments), "no executable stack"
    for line in segments.splitlines():
        assert not re.match(r"\s*LOAD\s.*\sRWE\s", line), "no segment that is writable and executable"
    assert "__stack_chk_fail" in symbols, "stack protector"
    assert re.search(r"__\w+_chk\b", symbols.replace("__stack_chk", "")), "fortified calls"
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic
    if "X86-64" in header:
        assert BINARY.read_bytes().count(b"\xf3\x0f\x1e\xfa") > 1000, "control-flow protection: endbr64"


def test_no_memory_is_writable_and_executable(lab, binary):
    instance = lab.instance([lab.server()], threads=3)
    assert instance("EVAL", "return redis.call('SET', KEYS[1], 'v')", 1, "k") == "OK"
    maps = open(f"/proc/{instance.process.pid}/maps").read().splitlines()
    assert len(maps) > 20
    assert [line for line in maps if line.split()[1].startswith("rwx")] == []


def ids(pid):
    text = open(f"/proc/{pid}/status").read()
    return {name: re.search(rf"^{name}:\s+(.*)$", text, re.M)[1].split() for name in ("Uid", "Gid", "Groups", "CapEff")}


@ROOT_ONLY
@pytest.mark.parametrize("group", ["", ":daemon"])
def test_root_is_given_up_once_all_is_bound(lab, binary, group):
    nobody = pwd.getpwnam("nobody")
    os.chmod(lab.dir, 0o755)
    instance = lab.instance([lab.server()], start=False, threads=3, run_as="nobody" + group)
    os.chmod(instance.dir, 0o755)
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as start:
        low = int(start.read()) > 712
    if low:
        instance.config["service-listen"] = f"{HOST}:{712 if group else 711}"  # only root may
    instance.start().wait_up().wait_online()
    gid = nobody.pw_gid if not group else 1
    for thread in os.listdir(f"/proc/{instance.process.pid}/task"):
        now = ids(f"{instance.process.pid}/task/{thread}")
        assert now["Uid"] == [str(nobody.pw_uid)] * 4 and now["Gid"] == [str(gid)] * 4
        assert "0" not in now["Groups"] and int(now["CapEff"][0], 16) == 0
    assert instance("SET", "k", "v") == "OK"
    assert "running as nobody" in instance.log_text()
    assert (instance.dir / "data").stat().st_uid == nobody.pw_uid
    log = instance.log
    log.rename(log.with_suffix(".1"))
    os.chmod(instance.dir, 0o777)
    instance.signal(10)  # reopens its log, as the other user
    wait_for(log.exists, 10, "the new log")
    assert instance("CONFIG", "REWRITE") == "OK"
    assert instance.terminate() == 0


@pytest.mark.parametrize("who, why", [("nobody-at-all", "there is no user 'nobody-at-all'"),
                                      ("nobody:no-group", "there is no group 'no-group'")])
def test_run_as_nobody_there(lab, binary, who, why):
    instance = lab.instance([lab.server()], start=False, run_as=who)
    instance.start()
    assert instance.process.wait(20) == 1
    assert why in instance.log_text()
