"""tidy_samples.py: for tidy.py --self-test: text that keeps every rule, and for each rule text that breaks it."""

CODE = """// link.cc: one conversation.
#include "proxy/resp/link.h"

#include <string>

namespace sidestream {

// co_await stands alone (see C1): if (co_await x) in a comment is no code, nor is "co_await {" in a string.
Task<Result<void>> follow(Link& link) {
  const auto started = co_await link.connect("a {b}? co_await");
  CO_RETURN_IF_ERROR(started);
  while (!link.online()) co_await link.changed.wait();
  for (int i = 0; i < 3; ++i) {
    if (i == 1) {
      const Result<std::string> word = co_await link.read_word();
      co_await link.clock().sleep(i > 1 ? 1'000 : 0);
    } else {
      auto line = co_await link.read_line(i, array[i]);
      links.erase([](const Link& l) { return l.done(); });
    }
  }
  switch (link.kind()) {
    case Kind::a: co_await link.drained(); break;
    default: break;
  }
  tasks.add([](Link& l) -> Task<void> { co_await l.wait(); }(link));
  co_return co_await link.finish(std::move(name));
}

const std::map<int, std::string> kNames = {{1, "a"}, {2, "b"}};

}  // namespace sidestream
"""
HEADER = """// link.h: what link.cc promises.
#pragma once

struct Awaiter {
  Awaiter operator co_await() const { return *this; }
};
"""
OPTIONS = """// options.cc: the rows.
constexpr Option kOptions[] = {
""" + "".join(f'    {{"option-{letter}", at}},\n' for letter in "abcdefghijkl") + "};\n"
REFERENCE = "# sidestream.yaml: every option.\n" + "".join(f"option-{letter}: 1\n" for letter in "abcdefghijkl")
TABLE = "# Options\n" + "".join(f"| `option-{letter}` |\n" for letter in "abcdefghijkl")

GOOD = {
    "proxy/resp/link.cc": CODE,
    "proxy/resp/link.h": HEADER,
    "proxy/resp/meson.build": "resp = static_library('resp', 'link.cc')\n",
    "config/options.cc": OPTIONS,
    "config/meson.build": "config = static_library('config', 'options.cc')\n",
    "config/sidestream.yaml": REFERENCE,
    "config/README.md": TABLE,
    "tests/run": "#!/usr/bin/env bash\n# run: builds and tests everything.\n",
    "tests/look.py": '#!/usr/bin/env python3\n"""look.py: looks at everything there is."""\n',
    "README.md": "# A sidecar\nSee https://example.org/work/ and ./home/.\n",
    ".gitignore": "/build*/\n",
}


def inside(statement: str) -> dict[str, str]:
    return {"proxy/a.cc": f"// a.cc: x.\nTask<void> f() {{\n  int n = 0;\n  {statement}\n}}\n"}


def long_function(lines: int) -> str:
    return "// a.cc: x.\nnamespace a {\nvoid C::run(int n) const {\n" + "  step();\n" * (lines - 2) + "}\n}\n"


BAD: list[tuple[str, dict[str, str], str]] = [  # rule, text, what it must say
    ("include_direction", {"proxy/routing/a.cc": '#include "proxy/replication/b.h"\n', "proxy/replication/b.h": ""},
     "proxy/routing/a.cc:1: proxy/routing must not know proxy/replication"),
    ("include_direction", {"common/a.cc": '#include "config/b.h"\n', "config/b.h": ""}, "common must not know config"),
    ("include_direction", {"common/a.cc": '#include "tests/b.h"\n', "tests/b.h": ""}, "product code includes tests"),
    ("include_direction", {"common/a.cc": '#include "b.h"\n', "common/b.h": ""}, '"b.h" is not a path'),
    ("library_places", {"proxy/main/main.cc": "#include <uv.h>\n"}, "proxy/main/main.cc:1: <uv.h>"),
    ("library_places", {"config/a.cc": "#include <yaml-cpp/yaml.h>\n"}, "<yaml-cpp/yaml.h>"),
    ("library_places", {"common/a.cc": "\n# include <spdlog/spdlog.h>\n"}, "common/a.cc:2: <spdlog/spdlog.h>"),
    ("library_places", {"proxy/main/main.cc": "#include <CLI/CLI.hpp>\n"}, "<CLI/CLI.hpp>"),
    ("co_await", inside("if (co_await ready()) n = 1;"), "proxy/a.cc:4: C1: co_await inside parentheses"),
    ("co_await", inside("if (auto x = co_await ready(); x) n = 1;"), "co_await inside parentheses"),
    ("co_await", inside("for (auto x = co_await y(); x;) n = 1;"), "co_await inside parentheses"),
    ("co_await", inside("while (true) use(co_await y());"), "co_await inside parentheses"),
    ("co_await", inside("CHECK(co_await y() == 1);"), "co_await inside parentheses"),
    ("co_await", inside("auto x = Point{co_await y()};"), "co_await inside braces"),
    ("co_await", inside("auto x = n ? co_await y() : 0;"), "co_await is not alone"),
    ("co_await", inside("n = co_await y();"), "co_await is not alone"),
    ("co_await", inside("co_return !co_await y();"), "co_await is not alone"),
    ("co_await", inside("auto x = co_await f(Request{1, 2});"), "braces in the operand"),
    ("co_await", inside("co_await f({1, 2});"), "braces in the operand"),
    ("co_await", inside("auto x = co_await f(n) ? a : b;"), "co_await chooses"),
    ("co_await", inside("co_return n = co_await y();"), "co_await is not alone"),
    ("co_await", {"common/a.h": "#define TRY(x) \\\n  auto r = co_await x;\n"}, "common/a.h:1: C1: co_await in a"),
    ("lambda_coroutines", inside("run([this, n](int x) -> Task<> { co_await y(x); });"), "proxy/a.cc:4: a lambda"),
    ("lambda_coroutines", inside("auto f = [&] { co_return; };"), "a lambda coroutine with captures"),
    ("options_documented", {"config/options.cc": OPTIONS, "config/sidestream.yaml": REFERENCE, "config/README.md": "x"},
     "config/README.md:1: option option-a is missing"),
    ("options_documented", {"config/options.cc": OPTIONS, "config/sidestream.yaml": "x", "config/README.md": TABLE},
     "config/sidestream.yaml:1: option option-l is missing"),
    ("options_documented", {"config/options.cc": "// moved\n"}, "only 0 options recognised"),
    ("header_comment", {"common/a.cc": "#include <string>\n"}, "common/a.cc:1: want `// a.cc: purpose` first"),
    ("header_comment", {"tests/a.py": "import os\n"}, "tests/a.py:1: want the purpose"),
    ("header_comment", {"deploy/go": "#!/bin/sh\nset -eu\n"}, "deploy/go:1: want the purpose"),
    ("lengths", {"common/a.cc": "\n" * 601}, "common/a.cc:1: 601 lines, 600 allowed"),
    ("lengths", {"common/a.h": "\n" * 251}, "common/a.h:1: 251 lines, 250 allowed"),
    ("lengths", {"common/a.cc": long_function(71)}, "common/a.cc:3: run() has 71 lines, 70 allowed"),
    ("lengths", {"tests/a.py": "def run():\n" + "    step()\n" * 70}, "tests/a.py:1: run() has 71 lines"),
    ("lengths", {"common/a.cc": "x" * 121}, "common/a.cc:1: 121 columns"),
    ("words", {"common/a.cc": "// TODO(no" "w): x\n"}, "do it, or say"),
    ("words", {"README.md": "Good enough for no" "w.\n"}, "README.md:1: `for no" "w`"),
    ("words", {"deploy/a": "cd /hom" "e/me/x\n"}, "a path of somebody's machine"),
    ("words", {"common/string_util.h": ""}, "common/string_util.h:1: a name that says nothing"),
    ("words", {"common/a.h": "class LinkManager {\n"}, "LinkManager: a name that says nothing"),
    ("words", {"common/a.cc": "void f() { throw 1; }\n"}, "common/a.cc:1: throw"),
    ("top_level", {"notes/a.md": "x"}, "notes:1: does not belong to the top level"),
    ("unused_sources", {"common/a.cc": "", "common/meson.build": "'b.cc'"}, "common/a.cc:1: in no meson.build"),
    ("unused_sources", {"common/a.h": ""}, "common/a.h:1: included by nobody"),
]
