"""Reading the pages: their code blocks with the comments in front of them, their links, anchors.

Before a block may stand, as an HTML comment that no reader of the page sees:

- `not run: why`: the block is only shown;
- `file: NAME`: the block is not executed but written to the file NAME;
- `output`: the block is what the block before it prints; `…` stands for any text in a line,
  a line with `…` alone for any lines;
- `exit: N`: the last command of a `console` block ends with exit status N instead of 0.

A comment reaches no further than to its block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"(?P<indent> *)```(?P<language>\S*)\s*\Z")
_NOTE = re.compile(r"<!-- (?P<kind>not run|file|output|exit)(?:: (?P<value>.+?))? -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """One code block; `line` is that of its first line of code."""

    language: str
    code: str
    line: int
    kind: str | None
    value: str | None


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    note: re.Match[str] | None = None
    lines = iter(enumerate(page.read_text().splitlines(), 1))
    for _, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            if line.strip():
                note = _NOTE.match(line)
            continue
        code: list[str] = []
        first = None
        for number, inner in lines:
            first = first or number
            if inner.strip() == "```":
                break
            code.append(inner.removeprefix(fence["indent"]))
        else:
            raise AssertionError(f"{page}: a block is not closed")
        kind, value = (note["kind"], note["value"]) if note else (None, None)
        found.append(Block(fence["language"], "\n".join(code) + "\n", first or 0, kind, value))
        note = None
    return found


def links(page: Path) -> list[str]:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """Return what `#…` may name on a page, as the usual viewers make it of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return set(words)
