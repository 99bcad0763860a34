"""
Read Markdown pages: fenced blocks, the comments in front of them, headings and links.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]

_fence = re.compile(r"^(?:<!-- (?P<note>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_needs = re.compile(r"^<!-- needs: (.+?) -->$", re.MULTILINE)
_link = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)\s]*)\)")
_heading = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """
    One fenced block.

    Attributes:
        line: Where its text starts, counted from 1.
        note: What the HTML comment directly in front of it says: `file: app.py`, `file: app.py, alone`, `output`, or
            nothing.
    """

    line: int
    language: str
    note: str
    text: str

    @property
    def file(self) -> str | None:
        """
        Name the file that the block is, if it is one.
        """
        return self.note[len("file: ") :].partition(",")[0] if self.note.startswith("file: ") else None

    @property
    def alone(self) -> bool:
        """
        Return whether the file is to be run in an interpreter of its own.
        """
        return self.note.endswith(", alone")


class Page:
    """
    One Markdown page.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text("utf-8")
        self.name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name

    @cached_property
    def blocks(self) -> list[Block]:
        """
        List the fenced blocks, in order.
        """
        return [
            Block(self.text.count("\n", 0, m.start("text")) + 1, m["language"], m["note"] or "", m["text"])
            for m in _fence.finditer(self.text)
        ]

    def of(self, language: str) -> list[Block]:
        """
        List the blocks of one language.
        """
        return [block for block in self.blocks if block.language == language]

    @property
    def output(self) -> list[str]:
        """
        List the lines that the page says come out of its Python blocks, in order.
        """
        return [line for block in self.blocks if block.note == "output" for line in block.text.splitlines() if line]

    @property
    def runs_here(self) -> bool:
        """
        Return whether the libraries that the page needs are installed.
        """
        needed = _needs.search(self.text)
        return all(map(find_spec, needed[1].split())) if needed else True

    @property
    def prose(self) -> str:
        """
        Return the text without fenced blocks.
        """
        return _fence.sub("", self.text)

    @property
    def links(self) -> list[str]:
        """
        List the links that stay in the repository.
        """
        return _link.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """
        List what the headings are called in links, as GitHub makes it.
        """
        headings = _heading.findall(self.prose)
        return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def all_pages() -> list[Page]:
    """
    List README.md, CONTRIBUTING.md and every page of docs/.
    """
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(path) for path in paths]
