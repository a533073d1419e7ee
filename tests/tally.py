#!/usr/bin/env python3
"""tally.py DIR: adds up the results that tests/run left in DIR, names what failed or was skipped, prints the last line.

    NAME.passed, NAME.failed, NAME.skipped  one test each; the text in the file is the reason
    NAME.json                               Meson's test log; a program that counts its own tests says so in its output
    NAME.xml                                JUnit, from pytest

Exit code 1 when anything failed or nothing was run.
"""
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

OWN_COUNTS = re.compile(  # doctest's summary, or a line like our own last one
    r"test cases:\s*\d+\s*\|\s*(?P<p>\d+) passed\s*\|\s*(?P<f>\d+) failed\s*\|\s*(?P<s>\d+) skipped"
    r"|^(?P<P>\d+) passed, (?P<F>\d+) failed, (?P<S>\d+) skipped$", re.M)


class Tally:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []

    def add(self, outcome: str, name: str, reason: str = "", count: int = 1) -> None:
        self.counts[outcome] += count
        if outcome != "passed" and count > 0:
            self.notes.append(f"{outcome}: {name}" + (f": {reason}" if reason else ""))

    def add_meson(self, suite: str, text: str) -> None:
        for line in filter(None, text.splitlines()):
            test = json.loads(line)
            name, result = f"{suite}: {test['name']}", test["result"]
            good = result in ("OK", "EXPECTEDFAIL")
            if not good and result != "SKIP":
                self.show(name, test)
            own = OWN_COUNTS.search(test.get("stdout") or "")
            if result == "SKIP":
                self.add("skipped", name, last_line(test.get("stdout")))
            elif own is None:
                self.add("passed" if good else "failed", name, result)
            else:
                passed, failed, skipped = (int(own[a] or own[b] or 0) for a, b in ("pP", "fF", "sS"))
                self.add("passed", name, count=passed)
                self.add("skipped", name, f"{skipped} of its tests", count=skipped)
                # A program that dies after its summary, or lies in it, has failed all the same.
                self.add("failed", name, result, count=failed if good else max(failed, 1))

    @staticmethod
    def show(name: str, test: dict) -> None:
        """What the program reported, which is the whole story, and the end of its log."""
        report = (test.get("stdout") or "").splitlines()[-150:]
        log = (test.get("stderr") or "").splitlines()[-20:]
        print("\n".join([f"---- {name}", *report, *(["---- the end of its log"] if log else []), *log, ""]))

    def add_junit(self, suite: str, text: str) -> None:
        for case in ElementTree.fromstring(text).iter("testcase"):
            name = f"{suite}: {case.get('classname')}.{case.get('name')}"
            for kind, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
                found = case.find(kind)
                if found is not None:
                    self.add(outcome, name, (found.get("message") or "").split("\n")[0][:200])
                    break
            else:
                self.add("passed", name)


def last_line(text: str | None) -> str:
    return ([""] + (text or "").strip().splitlines())[-1]


def main(directory: Path) -> int:
    tally = Tally()
    for path in sorted(directory.iterdir()):
        name, kind, text = path.stem, path.suffix, path.read_text(errors="replace")
        if kind == ".json":
            tally.add_meson(name, text)
        elif kind == ".xml":
            tally.add_junit(name, text)
        elif kind in (".passed", ".failed", ".skipped"):
            tally.add(kind[1:], name, text.strip())
    for note in sorted(tally.notes):
        print(note)
    counts = tally.counts
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
