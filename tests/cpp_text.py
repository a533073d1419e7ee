"""cpp_text.py: just enough understanding of C++ text for tidy.py: literals, brackets, statements, functions, lambdas.

No parser: it relies on balanced brackets once comments and literals are blanked out. All positions are those of the
original text.
"""
import bisect
import re
from functools import lru_cache
from typing import Iterator, NamedTuple

LITERAL = re.compile(r"//(?:[^\n]*\\\n)*[^\n]*|/\*.*?\*/|R\"(?P<mark>[^()\s]*)\(.*?\)(?P=mark)\"|\"(?:\\.|[^\"\\\n])*\""
                     r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.S)
CLOSES = {")": "(", "}": "{", "]": "["}


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def blank_literals(text: str) -> str:
    """The text with comments and the contents of literals replaced by spaces; include lines lose their names too."""
    def blank(match: re.Match) -> str:
        quote = match[0][-1]
        inner = re.sub(r"[^\n]", " ", match[0])
        return f"{quote}{inner[1:-1]}{quote}" if quote in "\"'" and match[0][0] != "/" else inner
    return LITERAL.sub(blank, text)


@lru_cache(maxsize=4)
def _pairs(code: str) -> tuple[dict[int, int], dict[int, int], list[int], list[int | None]]:
    """Opening -> closing, closing -> opening, and for each bracket position what encloses the text behind it."""
    closing, opening, places, enclosing = {}, {}, [], []
    stack: list[int] = []
    for match in re.finditer(r"[(){}\[\]]", code):
        if match[0] in "({[":
            stack.append(match.start())
        elif stack and code[stack[-1]] == CLOSES[match[0]]:
            opening[match.start()] = stack.pop()
            closing[opening[match.start()]] = match.start()
        places.append(match.start())
        enclosing.append(stack[-1] if stack else None)
    return closing, opening, places, enclosing


def matching(code: str, opened: int) -> int:
    """The bracket that closes the one at `opened`; the end of the text when there is none."""
    return _pairs(code)[0].get(opened, len(code))


def enclosing_bracket(code: str, position: int) -> int | None:
    """The innermost bracket that is open at a position."""
    _, _, places, enclosing = _pairs(code)
    index = bisect.bisect_left(places, position) - 1
    return enclosing[index] if index >= 0 else None


def statement_prefix(code: str, position: int) -> str:
    """What stands before a position in its statement, with the contents of () and [] left out."""
    opening = _pairs(code)[1]
    parts, at = [], position - 1
    while at >= 0 and code[at] not in ";{}":
        if code[at] in ")]" and at in opening:
            parts.append(code[opening[at]] + code[at])
            parts[-1] = parts[-1][::-1]
            at = opening[at]
        else:
            parts.append(code[at])
        at -= 1
    return "".join(parts)[::-1]


def without_directives(code: str) -> str:
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), code, flags=re.M)


def functions(code: str) -> Iterator[tuple[str, int, int]]:
    """Functions in namespaces and classes: name, line of the opening brace, lines of the body with its braces."""
    code = without_directives(code)
    at = code.find("{")
    while at != -1:
        head = re.sub(r"\b(?:template|requires)\s*<[^{};()]*>", "", statement_prefix(code, at))
        end = matching(code, at)
        if re.search(r"\b(?:namespace|extern|class|struct|union)\b[^()]*$", head):
            end = at  # look inside
        elif "(" in head and not re.search(r"(?<!operator)(?<![=!<>])=(?!=)", head):
            name = re.search(r"([\w~]+|operator\s*\S+?)\s*\(", head)
            yield name[1] if name else "?", line_of(code, at), line_of(code, end) - line_of(code, at) + 1
        at = code.find("{", end + 1)


class Lambda(NamedTuple):
    captures: str
    begin: int  # of the body, at its brace
    end: int    # behind its closing brace


def lambdas(code: str) -> Iterator[Lambda]:
    for match in re.finditer(r"(?<![\w)\]\[>\"])\s*\[(?!\[)", code):
        opened = match.end() - 1
        at = matching(code, opened) + 1
        tail = re.compile(r"\s*(?:<[^{};]*?>\s*(?=\())?(\()?").match(code, at)
        if tail is None:
            continue
        if tail[1]:
            at = matching(code, tail.end() - 1) + 1
        body = re.compile(r"[^{};,()]*\{").match(code, at)
        if body:
            yield Lambda(code[opened + 1:matching(code, opened)].strip(), body.end() - 1,
                         matching(code, body.end() - 1) + 1)
