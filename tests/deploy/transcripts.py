"""Examples in documents, run as they stand.

Grammar: a fenced block marked `console` under a heading. A line `$ command` is run by bash, further lines of a command
end in a backslash or are a here-document up to END; what stands below it, up to the next `$`, is what it prints, with …
for anything. All blocks under one heading are one shell, in an empty directory and with a loopback of its own.
Failure modes: the first command whose output differs, with both.
"""

import re
import subprocess
from typing import NamedTuple

import pytest

ALONE = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
HARD_BREAK = "\x1e"  # stands between what two commands print


class Step(NamedTuple):
    command: str
    prints: str


def sections(text):
    """{heading: [Step]} of those that have console blocks."""
    found, heading, block = {}, "", None
    for line in text.splitlines():
        if block is None and line.startswith("#"):
            heading = line.lstrip("# ")
        if line.strip() == "```console":
            block = []
        elif line.strip() == "```" and block is not None:
            found.setdefault(heading, []).extend(steps(block))
            block = None
        elif block is not None:
            block.append(line)
    return found


def steps(lines):
    found, command, printed, open_document = [], None, [], False
    for line in lines + ["$ "]:
        if open_document or (command is not None and command.endswith("\\")):
            command += "\n" + line
            open_document = open_document and line != "END"
        elif line.startswith("$ "):
            if command is not None:
                found.append(Step(command, "\n".join(printed)))
            command, printed = line[2:], []
            open_document = "<<END" in command
        else:
            assert command is not None, f"what prints this? {line}"
            printed.append(line)
    return found


def matches(wanted, got):
    pattern = ".*".join(re.escape(part) for part in wanted.strip().split("…"))
    return re.fullmatch(pattern, got.strip(), re.S) is not None


def require_namespaces():
    """In a chroot the kernel gives none: its root is no mount point."""
    tried = subprocess.run([*ALONE, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")


def run(found, place, path, timeout=120):
    """Runs them in the directory `place` with `path` in front of PATH; raises AssertionError."""
    script = f"ip link set lo up\ncd '{place}'\nexport PATH='{path}':$PATH\nexec 2>&1\n"
    script += "".join(f"{step.command}\nprintf '{HARD_BREAK}'\n" for step in found)
    require_namespaces()
    done = subprocess.run([*ALONE, "bash"], input=script, capture_output=True, text=True, timeout=timeout)
    outputs = done.stdout.replace("\r", "").split(HARD_BREAK)
    for number, step in enumerate(found):
        got = outputs[number] if number < len(outputs) - 1 else "(it did not get so far)\n" + done.stderr
        assert matches(step.prints, got), f"$ {step.command}\nwanted:\n{step.prints}\ngot:\n{got.strip()}"
