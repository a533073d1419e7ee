#!/usr/bin/env python3
"""tidy.py: the rules of this house that no compiler checks; proxy/README.md has the reasons.

Happy path: one line per rule and `N passed, 0 failed, 0 skipped`. Otherwise each finding as file:line: message, exit 1.
`--self-test` shows every rule a sample that breaks it, and one that does not. Reads only text: milliseconds per file.
"""
import ast
import os
import re
import sys
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

from cpp_text import (Lambda, blank_literals, enclosing_bracket, functions, lambdas, line_of, statement_prefix,
                      without_directives)

# Who may include whom: a room sees itself and the rooms of earlier lines, never its neighbours in the same line.
FLOORS = [["common"], ["config"], ["proxy/resp"], ["proxy/replication", "proxy/routing"], ["proxy/admin"],
          ["proxy/instance"], ["proxy/main"]]

# The one place where each library may be included.
LIBRARY_PLACES = {
    "uv.h": r"common/uv_\w+\.(cc|h)",
    "yaml-cpp/": r"config/config_file\.cc",
    "spdlog/": r"common/log\.cc",
    "CLI/": r"proxy/main/command_line\.cc|tests/bench/.*",
    "hiredis/": r"proxy/resp/\w+\.cc|tests/.*",
    "openssl/": r"common/(tls_\w+|secrets)\.cc|proxy/routing/script_cache\.cc|tests/.*",
    "doctest/": r"tests/.*",
}

TOP_LEVEL = {"LICENSE", "README.md", "common", "config", "deploy", "meson.build", "meson_options.txt", "proxy", "tests"}
NOT_OURS = re.compile(r"(\.git|\.cache|build[^/]*|sidestream-data)$")  # at top level; as in .gitignore

LINES_MAX = {".cc": 600, ".h": 250, ".py": 600}
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 120

# A ratchet: what was longer than allowed when the rule came. Numbers only go down, entries only go.
LONGER_FILES: dict[str, int] = {}
LONGER_FUNCTIONS: dict[str, int] = {}  # "path:function"


class Finding(NamedTuple):
    path: str
    line: int
    message: str


Findings = Iterator[Finding]
Tree = dict[str, str]  # path below the top level -> text


def load(top: Path) -> Tree:
    tree: Tree = {}
    for directory, names, files in os.walk(top):
        below = os.path.relpath(directory, top)
        names[:] = sorted(n for n in names if n != "__pycache__" and not (below == "." and NOT_OURS.match(n)))
        for name in files:
            if below == "." and NOT_OURS.match(name):
                continue  # in a work tree .git is a file
            path = os.path.normpath(os.path.join(below, name))
            data = Path(directory, name).read_bytes()
            if b"\0" not in data and not path.endswith((".resp", ".rdb")):
                tree[path] = data.decode("utf-8", "replace")
    return tree


def cpp(tree: Tree) -> Iterator[tuple[str, str]]:
    return ((path, text) for path, text in sorted(tree.items()) if path.endswith((".cc", ".h")))


def is_script(path: str, text: str) -> bool:
    return path.endswith(".py") or text.startswith("#!")


def includes(text: str) -> Iterator[tuple[int, str, str]]:
    for match in re.finditer(r"^[ \t]*#[ \t]*include[ \t]*([<\"])([^>\"]+)", text, re.M):
        yield line_of(text, match.start()), match[1], match[2]


def floor_of(path: str) -> tuple[int, str] | None:
    for number, rooms in enumerate(FLOORS):
        for room in rooms:
            if path.startswith(room + "/"):
                return number, room
    return None


def check_include_direction(tree: Tree) -> Findings:
    for path, text in cpp(tree):
        here = floor_of(path)
        for line, quote, name in includes(text):
            if quote == '"' and name not in tree:
                yield Finding(path, line, f'"{name}" is not a path from the top level')
            there = floor_of(name)
            if here is None or quote != '"':
                continue
            if there is None:
                yield Finding(path, line, f"product code includes {name}")
            elif there[0] > here[0] or (there[0] == here[0] and there[1] != here[1]):
                yield Finding(path, line, f"{here[1]} must not know {there[1]}")


def check_library_places(tree: Tree) -> Findings:
    for path, text in cpp(tree):
        for line, _, name in includes(text):
            for library, place in LIBRARY_PLACES.items():
                if name.startswith(library) and not re.fullmatch(place, path):
                    yield Finding(path, line, f"<{name}> is included only in {place}")


CONTROL = r"(?:(?:if(?:\s+constexpr)?|while|for)\s*\(\)|else|do|case(?:[^:]|::)*:(?!:)|default\s*:)"
DECLARATION = r"(?!return|co_return)(?:const\s+)?[\w:]+(?:<[^=;]*>)?[&*]*\s+\w+\s*="
C1_PREFIX = re.compile(rf"\s*(?:{CONTROL}\s*)*(?:{DECLARATION}|co_return)?\s*")
BLOCK_HEAD = re.compile(r"(?:[)\]>;{}:]|\b(?:else|do|try|const|noexcept|override|final|mutable)|->\s*[\w:]+)\s*$")


def check_co_await(tree: Tree) -> Findings:
    """C1: `co_await` stands alone, initialises a local, or follows co_return; no braces in its arguments."""
    for path, text in cpp(tree):
        code = blank_literals(text)
        for define in re.finditer(r"^[ \t]*#[ \t]*define(?:[^\n]*\\\n)*[^\n]*", code, re.M):
            if "co_await" in define[0]:
                yield Finding(path, line_of(code, define.start()), "C1: co_await in a macro")
        code = without_directives(code)
        for match in re.finditer(r"(?<!operator )\bco_await\b(?!\s*\(\s*\)\s*(?:const|\{|;))", code):
            problem = co_await_problem(code, match.start(), match.end())
            if problem:
                yield Finding(path, line_of(code, match.start()), "C1: " + problem)


def co_await_problem(code: str, start: int, end: int) -> str | None:
    opened = enclosing_bracket(code, start)
    if opened is None or code[opened] != "{":
        return "co_await inside parentheses, a condition or an argument list"
    if not BLOCK_HEAD.search(code[:opened]):
        return "co_await inside braces that are no block"
    if not C1_PREFIX.fullmatch(statement_prefix(code, start)):
        return "co_await is not alone: want `auto name = co_await f(named);`, a statement or `co_return co_await`"
    semicolon = code.find(";", end)
    if re.search(r"[{}]|\bco_await\b", code[end:semicolon]):
        return "braces in the operand of co_await; name the argument first"
    if "?" in statement_prefix(code, semicolon)[-(semicolon - end):]:
        return "co_await chooses for ?:; name its result first"
    return None


def check_lambda_coroutines(tree: Tree) -> Findings:
    for path, text in cpp(tree):
        code = blank_literals(text)
        found: list[Lambda] = list(lambdas(code))
        for outer in found:
            body = code[outer.begin:outer.end]
            for inner in found:
                if outer.begin < inner.begin and inner.end < outer.end:
                    body = body.replace(code[inner.begin:inner.end], "")
            if outer.captures and re.search(r"\bco_(await|return|yield)\b", body):
                yield Finding(path, line_of(code, outer.begin),
                              "a lambda coroutine with captures dangles once the lambda is gone; write a function")


def check_options_documented(tree: Tree) -> Findings:
    """The reference files are generated and compared by a unit test; this looks that no row was left out by hand."""
    table = tree.get("config/options.cc")
    if table is None:
        return
    rows = re.findall(r"^\s*\{\s*(?:\.name = )?\"([a-z][a-z0-9.-]*)\"", table, re.M)
    if len(rows) < 10:
        yield Finding("config/options.cc", 1, f"only {len(rows)} options recognised; has the table another form?")
    for name in rows:
        leaf = re.escape(name.split(".")[-1])
        if not re.search(rf"^[ #-]*{leaf}:|`{leaf}`", tree.get("config/sidestream.yaml", ""), re.M):
            yield Finding("config/sidestream.yaml", 1, f"option {name} is missing")
        if f"`{name}`" not in tree.get("config/README.md", ""):
            yield Finding("config/README.md", 1, f"option {name} is missing")


def check_header_comment(tree: Tree) -> Findings:
    for path, text in sorted(tree.items()):
        lines = text.splitlines() or [""]
        if path.endswith((".cc", ".h")):
            if not re.match(rf"// {re.escape(os.path.basename(path))}: \S", lines[0]):
                yield Finding(path, 1, f"want `// {os.path.basename(path)}: purpose` first")
        elif is_script(path, text):
            after = next((line for line in lines if not line.startswith("#!")), "")
            if not re.match(r"# \S.{15,}|[rf]?\"\"\"\S.{15,}", after):
                yield Finding(path, 1, "want the purpose in a comment or docstring first")


def lengths_of(path: str, text: str) -> Iterator[tuple[str, int, int]]:
    """Functions as (name, first line, lines)."""
    if path.endswith(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1
    else:
        yield from functions(blank_literals(text))


def check_lengths(tree: Tree) -> Findings:
    used = set()
    for path, text in sorted(tree.items()):
        limit = LINES_MAX.get(os.path.splitext(path)[1])
        if limit is None:
            continue
        lines = text.count("\n")
        used.add(path)
        yield from over(path, 1, f"{lines} lines", lines, limit, LONGER_FILES.get(path))
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > COLUMNS_MAX:
                yield Finding(path, number, f"{len(line)} columns, {COLUMNS_MAX} allowed")
        for name, line, count in lengths_of(path, text):
            used.add(f"{path}:{name}")
            yield from over(path, line, f"{name}() has {count} lines", count, FUNCTION_LINES_MAX,
                            LONGER_FUNCTIONS.get(f"{path}:{name}"))
    for entry in sorted((LONGER_FILES.keys() | LONGER_FUNCTIONS.keys()) - used):
        yield Finding(entry, 1, "gone; take it out of the exceptions in tests/tidy.py")


def over(path: str, line: int, what: str, size: int, limit: int, excepted: int | None) -> Findings:
    if size > (excepted or limit):
        yield Finding(path, line, f"{what}, {excepted or limit} allowed")
    if excepted is not None and size < excepted:
        yield Finding(path, line, f"{what}, better than its exception of {excepted} in tests/tidy.py: lower that")


# In pieces, since this file is checked as well.
BANNED = {
    r"\bTODO\(no" r"w\)": "do it, or say what it waits for",
    r"(?i)\bfor no" r"w\b": "say until when, or leave it out",
    r"(?<![\w.:/])/(?:wor" r"k|roo" r"t|hom" r"e|User" r"s)/": "a path of somebody's machine",
}
EMPTY_NOUN = r"Manager|Handler|Utils?|Helper"


def check_words(tree: Tree) -> Findings:
    for path, text in sorted(tree.items()):
        if re.search(r"(?i)(^|[/_])(manager|handler|utils?|helpers?)([_.]|$)", path):
            yield Finding(path, 1, "a name that says nothing")
        for pattern, advice in BANNED.items():
            for match in re.finditer(pattern, text):
                yield Finding(path, line_of(text, match.start()), f"`{match[0]}`: {advice}")
    for path, text in cpp(tree):
        code = blank_literals(text)
        for match in re.finditer(rf"\b(?:class|struct)\s+(\w*(?:{EMPTY_NOUN}))\b", code):
            yield Finding(path, line_of(code, match.start()), f"{match[1]}: a name that says nothing")
        for match in re.finditer(r"\bthrow\b", code):
            if not path.startswith("tests/"):
                yield Finding(path, line_of(code, match.start()), "throw: errors travel as Result")


def check_top_level(tree: Tree) -> Findings:
    for entry in sorted({path.split("/")[0] for path in tree}):
        if entry not in TOP_LEVEL and not entry.startswith("."):
            yield Finding(entry, 1, "does not belong to the top level")


def check_unused_sources(tree: Tree) -> Findings:
    included = {name for _, text in cpp(tree) for _, _, name in includes(text)}
    built = set()
    for path, text in tree.items():
        if os.path.basename(path) == "meson.build":
            for name in re.findall(r"'([^']+\.cc)'", text):
                built.add(os.path.normpath(os.path.join(os.path.dirname(path), name)))
    for path, _ in cpp(tree):
        if path.endswith(".cc") and path not in built:
            yield Finding(path, 1, "in no meson.build")
        if path.endswith(".h") and path not in included:
            yield Finding(path, 1, "included by nobody")


Check = Callable[[Tree], Findings]
CHECKS: list[Check] = [check_include_direction, check_library_places, check_co_await, check_lambda_coroutines,
                       check_options_documented, check_header_comment, check_lengths, check_words, check_top_level,
                       check_unused_sources]


def title(check: Check) -> str:
    return check.__name__.removeprefix("check_").replace("_", " ")


def run(tree: Tree) -> bool:
    failed = 0
    for check in CHECKS:
        findings = list(check(tree))
        failed += bool(findings)
        print(f"{'FAILED' if findings else 'ok':6} {title(check)}")
        for finding in findings:
            print(f"{finding.path}:{finding.line}: {finding.message}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed, 0 skipped")
    return failed == 0


def self_test() -> bool:
    from tidy_samples import BAD, GOOD
    failures = [f"{title(check)}: finds {finding} in good text" for check in CHECKS for finding in check(GOOD)]
    for name, tree, expected in BAD:
        check = globals()["check_" + name]
        if not any(expected in f"{f.path}:{f.line}: {f.message}" for f in check(tree)):
            failures.append(f"{name} does not find: {expected}")
    failures += [f"no sample breaks: {title(c)}" for c in CHECKS if not any(c.__name__ == "check_" + b[0] for b in BAD)]
    for failure in failures:
        print(failure)
    print(f"{len(BAD) + len(CHECKS) - len(failures)} passed, {len(failures)} failed, 0 skipped")
    return not failures


if __name__ == "__main__":
    ok = self_test() if sys.argv[1:] == ["--self-test"] else run(load(Path(__file__).resolve().parent.parent))
    sys.exit(0 if ok else 1)
