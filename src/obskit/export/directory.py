"""
Files that are written into a folder, or compared with what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import unified_diff
from pathlib import Path

# What is ours in a folder, and may be removed once it is not written any more.
_OURS = ("rules/*.rules.yml", "rules/*.test.yml", "runbooks/*.md")


def write(directory: Path, files: Mapping[str, str], mark: str) -> list[Path]:
    """
    Write the files, and remove those of an earlier time that are not among them.

    Args:
        directory: Made where it is not there.
        files: Text by path.
        mark: What the first line of each says, and of no file of others.

    Returns:
        Their paths.
    """
    for path in leftovers(directory, files, mark):
        path.unlink()
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return [directory / name for name in files]


def difference(directory: Path, files: Mapping[str, str], mark: str) -> str:
    """
    Return how what is there differs from what would be written; empty where it does not.
    """
    there = {name: _read(directory / name) for name in files}
    gone = {str(path.relative_to(directory)): _read(path) for path in leftovers(directory, files, mark)}
    told: list[str] = []
    for name in sorted({*there, *gone}):
        before, after = (there.get(name) or gone.get(name) or ""), files.get(name, "")
        told += unified_diff(
            before.splitlines(True), after.splitlines(True), f"{name} (there)", f"{name} (written anew)"
        )
        if before == after and there.get(name) is None:
            told.append(f"{name} is not there\n")
    return "".join(told)


def leftovers(directory: Path, files: Mapping[str, str], mark: str) -> list[Path]:
    """
    Return files of an earlier time that would not be written any more.
    """
    return sorted(_of_earlier(directory, files, mark))


def _of_earlier(directory: Path, files: Mapping[str, str], mark: str) -> Iterator[Path]:
    for pattern in _OURS:
        for path in directory.glob(pattern):
            text = _read(path) or ""
            if path.relative_to(directory).as_posix() not in files and mark in text.partition("\n")[0]:
                yield path


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return None
