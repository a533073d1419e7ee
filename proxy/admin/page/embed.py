#!/usr/bin/env python3
"""embed.py: turns the status page into a C++ file, with the policy that allows its script and style by their hashes.

    embed.py status.html page.cc

Failure modes: a page without exactly one script and one style ends the build.
"""
import base64
import hashlib
import re
import sys


def digest(page, tag):
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        page = file.read()
    policy = "; ".join(["default-src 'none'", f"script-src {digest(page, 'script')}",
                        f"style-src {digest(page, 'style')}",
                        "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'",
                        "frame-ancestors 'none'"])
    pieces = [page[i:i + 8000] for i in range(0, len(page), 8000)]
    literals = "\n".join(f'R"page({piece})page"' for piece in pieces)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(f"""// page.cc: made from status.html by embed.py.
#include "proxy/admin/page/page.h"

namespace sidestream::admin {{

const std::string_view kPage = {literals};
const std::string_view kPagePolicy = "{policy}";

}}  // namespace sidestream::admin
""")


main()
