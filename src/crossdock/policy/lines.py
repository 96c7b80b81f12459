"""In which line of a TOML document a key stands: the parser does not tell, and people want to know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_TABLE: Final = re.compile(rf"\s*(\[\[?)\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]\]?\s*(?:#.*)?$")
_ENTRY: Final = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")
_PART: Final = re.compile(_KEY)
_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'')


def locate_keys(text: str) -> dict[str, int]:
    """Return dotted path -> line, with list items as `name[0]`. Items are told apart when each begins its own line."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    items = -1
    depth = 0
    entry = ""
    for number, line in enumerate(text.splitlines(), start=1):
        # Brackets and hashes within texts mean nothing.
        bare = _TEXT.sub('""', line).partition("#")[0]
        if depth > 0:
            if depth == 1 and bare.strip().startswith(("{", '"', "[")):
                items += 1
                found.setdefault(f"{entry}[{items}]", number)
        elif (header := _TABLE.match(line)) is not None:
            table = _enter_table(_parts(header.group(2)), header.group(1) == "[[", counts)
            found.setdefault(table, number)
            continue
        elif (assignment := _ENTRY.match(line)) is not None:
            entry = ".".join(filter(None, (table, *_parts(assignment.group(1)))))
            found.setdefault(entry, number)
            items = -1
            if re.search(r"=\s*\[\s*[{\"\[]", line):
                # The first item stands on the key's own line.
                items = 0
                found.setdefault(f"{entry}[0]", number)
            bare = bare.partition("=")[2]
        depth = max(depth + bare.count("[") - bare.count("]"), 0)
    return found


def find_line(lines: Mapping[str, int], path: str) -> int:
    """The line of `path`, or of the nearest part of the document around it; 1 if nothing of it is there."""
    for candidate in _outwards(path):
        if candidate in lines:
            return lines[candidate]
    return 1


def _outwards(path: str) -> Iterator[str]:
    while path:
        yield path
        cut = max(path.rfind("."), path.rfind("["))
        path = path[:cut] if cut > 0 else ""


def _enter_table(parts: list[str], is_item: bool, counts: dict[str, int]) -> str:
    """The table's path with the index of each list of tables that it lies in."""
    path = ""
    for index, part in enumerate(parts):
        path = f"{path}.{part}" if path else part
        if index == len(parts) - 1 and is_item:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = f"{path}[{counts[path]}]"
    return path


def _parts(keys: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(keys)]
