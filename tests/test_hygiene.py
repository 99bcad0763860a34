"""
Habits of the repository that no linter checks.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README_LINES = 12

# What no file may hold: in which files, and the pattern (brackets keep it from finding itself).
FORBIDDEN = {
    "absolute machine path": ("*", r"(?<![\w.-])/(?:work|root|home)/|/tmp/[v]env"),
    "package index": ("*", r"pypi\.org|python[h]osted|index-[u]rl"),
    "unfinished work": ("*", r"\b(?:TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b"),
    "skipped test": ("*.py", r"pytest\.mark\.skip"),
    "type ignore without a code": ("*.py", r"#\s*type:\s*ignore(?!\[)"),
}


def walked(folder: Path) -> Iterator[Path]:
    """
    Yield the files of a tree that is no git checkout, without environments, caches and builds.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path
        elif path.name == ".ci" or not (
            path.name.startswith(".") or path.name in {"build", "dist", "__pycache__"} or (path / "pyvenv.cfg").exists()
        ):
            yield from walked(path)


def files_of(root: Path) -> list[Path]:
    """
    List the files git tracks or would add, or all files where there is no git.
    """
    if (root / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        try:
            listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return list(walked(root))
        names = listed.decode().split("\0")
        return [root / name for name in names if (root / name).is_file()]
    return list(walked(root))


def text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def findings(root: Path, sin: str) -> list[str]:
    glob, pattern = FORBIDDEN[sin]
    return [
        f"{path.relative_to(root)}:{number}: {sin}: {line.strip()[:80]}"
        for path in files_of(root)
        if path.match(glob)
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize("sin", FORBIDDEN)
def test_no_file_holds_what_is_forbidden(sin):
    """
    No text file of the repository holds a machine path, a package index, or work put off.
    """
    assert findings(ROOT, sin) == []


@pytest.mark.parametrize(
    ("sin", "line"),
    [
        ("absolute machine path", "cd /ro_ot/project"),
        ("absolute machine path", '"/ho_me/ada/x"'),
        ("absolute machine path", "/tm_p/venv/bin/python"),
        ("package index", "https://py_pi.org/simple"),
        ("package index", "--extra-index_-url=x"),
        ("unfinished work", "# TO_DO: later"),
        ("skipped test", "@pytest.mark.sk_ip"),
        ("type ignore without a code", "x = y  # type: ig_nore"),
    ],
)
def test_what_is_forbidden_is_found(tmp_path, sin, line):
    """
    Each forbidden thing is found, with file and line, in a tree without git and not in its venvs.
    """
    sinful = line.replace("_", "")
    for folder in ("src", "env"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bad.py").write_text(f"\n{sinful}\n")
    (tmp_path / "env" / "pyvenv.cfg").touch()

    assert findings(tmp_path, sin) == [f"src/bad.py:2: {sin}: {sinful}"]


@pytest.mark.parametrize("sin", FORBIDDEN)
def test_what_is_fine_is_let_through(tmp_path, sin):
    """
    Routes, addresses and named ignores that look alike are not found.
    """
    (tmp_path / "good.py").write_text(
        "x = 'https://example.org/home/'\ny = 'tests/work/x'\nz = w  # type: ignore[attr-defined]\n"
    )

    assert findings(tmp_path, sin) == []


def test_each_folder_states_its_law():
    """
    Every package below src/obskit has a README.md of at most 12 lines.
    """
    package = ROOT / "src" / "obskit"
    folders = [path.parent for path in package.glob("*/**/__init__.py")]
    laws = {folder: folder / "README.md" for folder in folders}
    bad = [
        str(folder.relative_to(ROOT))
        for folder, law in laws.items()
        if not law.is_file() or not 0 < len(text_of(law).splitlines()) <= README_LINES
    ]

    assert bad == []
