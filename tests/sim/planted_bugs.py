#!/usr/bin/env python3
"""Plants bugs, one at a time, into a copy of the sources and sees whether the simulation finds them.

A checker that has never failed proves nothing. Each entry of BUGS replaces one piece of text in one file (it must be
there exactly once, so the list cannot go stale unnoticed), names the scenario that must fail, and what the failure
must say.

  planted_bugs.py [--seeds N] [--only NAME] [--keep DIRECTORY]

Ends with one line per bug and 1 if any was not caught. Needs what the build needs; takes half a minute per bug.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPL = "proxy/replication/"
FAKE = "tests/support/"
PLANE = "proxy/routing/"
CHECK_FAILED = "Aborted"

# name, file, text, what replaces it, scenario, words of the failure
BUGS = [
    # The history on disk.
    ("a cut does not reach the disk", REPL + "stream.cc", "disk_.cut(offset);", "disk_.grew(offset);",
     "relay", "do not exist|is wrong|claims offset|not converged|" + CHECK_FAILED),
    ("a new id does not reach the disk", REPL + "stream.cc", "disk_.rename(history_);", "",
     "relay", "needless full resync|claims offset|leads over"),
    ("checksums are not looked at", REPL + "segment.cc",
     'if (frame_checksum(frame) != header.value().crc) return damaged("a frame\'s checksum");', "",
     "relay", "do not exist|is wrong|claims offset|broken"),
    ("bytes read before the history turned are passed on", REPL + "downstream_link.cc",
     "if (turns != stream_.turns()) co_return Result<void>();", "",
     "relay", "do not exist|is wrong|" + CHECK_FAILED),
    # The relay.
    ("a byte that is gone may be continued", REPL + "history.cc",
     "if (request.next_byte < held.first_byte) return Continuation::no;",
     "if (request.next_byte < held.first_byte - (1 << 30)) return Continuation::no;",
     "relay", "not converged|" + CHECK_FAILED),
    ("the last byte held may not be continued", REPL + "history.cc",
     "return request.next_byte <= held.end() ? Continuation::yes : Continuation::ahead;",
     "return request.next_byte < held.end() ? Continuation::yes : Continuation::no;",
     "relay", "needless full resync"),
    ("second offset not checked", REPL + "history.cc",
     "history.replid2.matches(request.replid) && request.next_byte <= history.second_offset",
     "history.replid2.matches(request.replid)",
     "relay", "leads over a fork or gap"),
    ("newline behind the reply to PSYNC", REPL + "downstream_link.cc",
     'connection_->write("+CONTINUE" + id + "\\r\\n");',
     'connection_->write("+CONTINUE" + id + "\\r\\n\\n");',
     "relay", "is wrong|do not exist"),
    ("stream before the first ACK", REPL + "downstream_link.cc",
     "if (!mark_.empty()) co_await first_ack();", "",
     "relay", "bytes behind the EOF mark"),
    ("snapshot joined one byte late", REPL + "downstream_link.cc",
     "cursor_ = offset.next_byte();", "cursor_ = offset.next_byte() + 1;",
     "relay", "is wrong|do not exist"),
    ("bytes behind the fork on the old id", REPL + "downstream_link.cc",
     "stop_at_ = fork;", "stop_at_.reset();",
     "relay", "do not exist|is wrong"),
    ("replicas keep what was cut off", REPL + "downstream_link.cc",
     'if (cursor_ > end.next_byte()) close(', "if (cursor_ > end.next_byte() + (1 << 20)) close(",
     "relay", "do not exist|is wrong|not converged|" + CHECK_FAILED),
    ("snapshot older than the backlog", REPL + "relay_snapshots.cc",
     "return snapshot.offset().next_byte() >= stream_.first_byte() && (link.snapshot() == &snapshot || !is_outrun);",
     "return link.snapshot() == &snapshot || !is_outrun || true;",
     "relay", "not converged|" + CHECK_FAILED),
    ("upstream asked for one byte again", REPL + "attach_plan.cc",
     "held->history.replid, held->offset.next_byte(), {}, 0}", "held->history.replid, held->offset.value, {}, 0}",
     "relay", "is wrong|do not exist|not converged|claims offset|a command ends|backlog of|" + CHECK_FAILED),
    ("acknowledges too much", REPL + "upstream_link.cc",
     "const std::string number = std::to_string(offset.value);",
     "const std::string number = std::to_string(offset.value + 1);",
     "relay", "acknowledges"),
    ("a closed replica is never forgotten", REPL + "relay.cc",
     "ReadyQueue::current().post(reaper_);", "",
     "relay", "do not exist|not converged|left behind|hangs"),
    # The wipe guard.
    ("an empty history is let in", REPL + "wipe_guard.cc",
     "if (!reason) return {};", "if (!reason || offered.keys == 0) return {};",
     "instance", "is not held|lost its data|is answered|" + CHECK_FAILED),
    ("whoever grows is let in", REPL + "wipe_guard.cc",
     "suspected ? offered >= ours - ours / 10 : offered >= ours / 2", "suspected ? offered >= 1 : offered >= 1",
     "relay", "is given .* keys where"),
    ("writes do not wait for the verdict", "proxy/instance/steering.cc",
     "if (!has_our_history(*node)) return std::nullopt;", "",
     "instance", "a write went to the primary|is answered|is not held|is lost"),
    # The client plane and the instance.
    ("the ROLE in front of reads is not looked at", PLANE + "server_connection.cc",
     "const bool fresh = !demoted_ && (entry.need.value < 0 || proven_ >= entry.need);", "const bool fresh = true;",
     "instance", "GET .* is answered"),
    ("writes settle at what was relayed", PLANE + "freshness.cc",
     "static_cast<uint64_t>(std::max(highest(), role).value)", "static_cast<uint64_t>(relayed().value)",
     "instance", "GET .* is answered"),
    ("broken batches settle at once", PLANE + "freshness.cc",
     "if (!batch->applied_ || batch->empty()) return forget(std::move(batch));", "return forget(std::move(batch));",
     "instance", "GET .* is answered"),
    ("a new history has no floor", PLANE + "freshness.cc",
     "  mark_floor(*unknown);\n", "",
     "instance", "GET .* is answered"),
    ("private writes are not marked", PLANE + "server_connection.cc",
     "  freshness_.apply(*noted);\n  push_role(", "  push_role(",
     "instance", "GET .* is answered"),
    ("a sent write is sent again", PLANE + "server_connection.cc",
     "if (sent || plan_.is_private) {", "if (plan_.is_private) {",
     "instance", "was made twice"),
    ("replies as they come", PLANE + "reply_queue.cc",
     "if (sequence != first_) {", "if (sequence > first_ + 100) {",
     "instance", "is answered|hang|not served|no answer|" + CHECK_FAILED),
    ("a connection that settles writes answers from memory", "proxy/admin/local_commands.cc",
     "return caller.read_policy == ReadPolicy::primary;", "return caller.read_policy == ReadPolicy::eventual;",
     "instance", "(GET|WAIT) .* is answered"),
    ("what was left behind is not waited for", "proxy/instance/role_change.cc",
     "left_.push_back(std::move(upstream_));", "upstream_.reset();",
     "instance", CHECK_FAILED),
    ("a promotion before everything is applied", "proxy/instance/role_change.cc",
     "  auto level = co_await bring_level(*node);", "  auto level = Result<void>();",
     "instance", "is answered|is lost|not converged"),
    ("a handover is given up before its outcome is known", "proxy/instance/failover.cc",
     "if (told.ok() || told.error().code == Errc::refused || !told_) {",
     "if (told.ok() || told.error().code == Errc::refused || told_) {",
     "instance", "not converged|is lost|was made twice"),
    ("a data node that is down is passed over", "proxy/instance/topology.cc",
     "bool is_silent(const NodeView& node) { return !node.reachable; }",
     "bool is_silent(const NodeView& node) { return !node.heard; }",
     "instance", "GET .* is answered|not converged"),
    ("marks are wiped with each new id", "proxy/instance/instance.cc",
     "if (!continued) plane_->new_history(relay_->commands_known_from());",
     "if (!continued || true) plane_->new_history(relay_->commands_known_from());",
     "instance", "GET .* is answered"),
    # What is newer than what we hold.
    ("old data for whose history we do not know", REPL + "downstream_link.cc",
     "  return !connected;\n", "  return !connected && waited_us < 10'000'000;\n",
     "instance", "is answered|is lost|not converged"),
    ("a former primary with another history leads unasked", "proxy/instance/failover.cc",
     "if (turned) relay_.guard().distrust();", "static_cast<void>(turned);",
     "instance", "is answered|is lost|not converged"),
    # The switch.
    ("nobody is cut off", "proxy/instance/fence.cc",
     "if (facts.fence_after_ms > 0 && is_cut_off(facts)) {", "if (facts.fence_after_ms < 0 && is_cut_off(facts)) {",
     "switch", "two primaries"),
    ("promoted by hand, whatever it costs", "proxy/instance/succession.cc",
     "if (end > fork) {", "if (end > fork + (1 << 30)) {",
     "switch", "is lost"),
    ("a handover is forgotten in a crash", "proxy/instance/failover.cc",
     "  auto kept = co_await memory_.remember(handover);\n", "  auto kept = Result<void>();\n",
     "switch", "two primaries|is lost|not converged|has no end"),
    # The fakes themselves: the checkers do not depend on the relay being right.
    ("fake: backlog one byte off", FAKE + "fake_primary.cc",
     "(held - (offset_ - next_byte + 1))", "(held - (offset_ - next_byte))",
     "nodes", "is wrong|do not exist|not converged|Aborted|Segmentation"),
    ("fake: offset of an open transaction", FAKE + "fake_replica.cc",
     'if (name != "exec") {', 'feed(std::exchange(link.held, std::string()));\n    if (name != "exec") {',
     "nodes", "is not the primary's|is not between two commands|do not exist"),
    ("fake: promotion keeps the old id", FAKE + "fake_primary.cc",
     "(iequals(id, replid2_) && next_byte <= second_offset_)", "iequals(id, replid2_)",
     "nodes", "leads over a fork or gap|do not exist"),
]


def run(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          **options)


def copy_sources(target):
    def skip(directory, names):
        at_top = pathlib.Path(directory) == ROOT
        return [n for n in names if n.startswith((".git", "build")) and at_top or n == "__pycache__"]

    shutil.copytree(ROOT, target, ignore=skip, symlinks=True)


def build(build_directory):
    result = run(["ninja", "-C", str(build_directory), "tests/sim/sim_tests"])
    return result.stdout if result.returncode != 0 else None


def plant(source, bug):
    """Returns the original text."""
    path = source / bug[1]
    original = path.read_text()
    if original.count(bug[2]) != 1:
        sys.exit(f"{bug[1]}: '{bug[2]}' is there {original.count(bug[2])} times; bring the list up to date")
    path.write_text(original.replace(bug[2], bug[3]))
    return original


def hunt(source, build_directory, bug, seeds):
    """Returns (caught, words)."""
    original = plant(source, bug)
    try:
        broken = build(build_directory)
        if broken:
            return False, "does not compile: " + broken[-400:]
        result = run([str(build_directory / "tests/sim/sim_tests"), "--scenario", bug[4], "--seeds", f"1..{seeds}",
                      "--failures", "1"])
        failure = re.search(r"^FAILED \w+ seed (\d+): (.*)$", result.stdout, re.MULTILINE)
        if not failure:
            return False, "not caught in %d seeds" % seeds
        words = f"seed {failure.group(1)}: {failure.group(2)}"
        return re.search(bug[5], failure.group(2)) is not None, words
    finally:
        (source / bug[1]).write_text(original)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=1000)
    arguments.add_argument("--only", default="", help="bugs whose name contains this")
    arguments.add_argument("--keep", help="work here and leave it there, to be quicker the next time")
    arguments = arguments.parse_args()
    place = pathlib.Path(arguments.keep or tempfile.mkdtemp(prefix="planted-bugs-"))
    source, build_directory = place / "source", place / "build"
    try:
        if source.exists():
            shutil.rmtree(source)
        copy_sources(source)
        if not build_directory.exists():
            setup = run(["meson", "setup", str(build_directory), str(source)])
            if setup.returncode != 0:
                sys.exit(setup.stdout)
        if broken := build(build_directory):
            sys.exit(broken)
        missed = 0
        for bug in BUGS:
            if arguments.only not in bug[0]:
                continue
            start = time.monotonic()
            caught, words = hunt(source, build_directory, bug, arguments.seeds)
            missed += not caught
            verdict = "caught" if caught else "MISSED"
            print(f"{verdict}  {bug[0]} ({time.monotonic() - start:.0f} s): {words}", flush=True)
        print(f"{len(BUGS)} bugs in the list, {missed} missed")
        return 1 if missed else 0
    finally:
        if not arguments.keep:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
