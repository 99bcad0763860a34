"""
Habits of the repository that no linter checks.
"""

import ast
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


# Verbs that say nothing of what a function returns or does, nor what a class is: see `docstring_sins()`.
VAGUE_OPENINGS = ("Be", "Give", "Hold", "Keep", "Know", "Let", "Say", "Tell")


def docstring_sins(source: str) -> list[str]:
    """
    Find docstrings with a vague opening, those of functions that do nothing, and public names that lack one.
    """
    tree = ast.parse(source)
    promised, found = methods_of_protocols(tree), []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name, text = getattr(node, "name", "the module"), ast.get_docstring(node)
        if text is None:
            if node in tree.body and not name.startswith("_") and not (is_no_op(node) or has_own_doc(node)):
                found.append(f"{name} has none")
        elif text.split()[0] in VAGUE_OPENINGS:
            found.append(f"{name}: {text.split()[0]} ...")
        elif is_no_op(node) and node not in promised:
            found.append(f"{name} does nothing, and says so")
    return found


def is_no_op(node: ast.AST) -> bool:
    """
    Return whether a function does nothing, and returns nothing.
    """
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and all(
        isinstance(step, ast.Pass)
        or (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
        or (isinstance(step, ast.Return) and step.value is None)
        for step in node.body
    )


def methods_of_protocols(tree: ast.Module) -> set[ast.AST]:
    """
    Return functions whose docstring says what others must do.
    """
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    protocols = [node for node in classes if any("Protocol" in ast.unparse(base) for base in node.bases)]
    return {step for node in protocols for step in node.body}


def has_own_doc(node: ast.AST) -> bool:
    """
    Return whether a class sets `__doc__` itself.
    """
    return isinstance(node, ast.ClassDef) and any(
        isinstance(step, ast.Assign) and ast.unparse(step.targets[0]) == "__doc__" for step in node.body
    )


def test_docstrings_say_what_a_reader_needs():
    """
    Public classes and functions of the library have docstrings, functions that do nothing have none, and none opens
    with a vague verb: a function's says what it returns or does, a class's what it is.
    """
    library = ROOT / "src" / "obskit"
    files = [path for path in library.rglob("*.py") if path.name != "__init__.py"]
    bad = {str(path.relative_to(library)): docstring_sins(text_of(path)) for path in files}

    assert {} == {path: found for path, found in bad.items() if found}


def test_docstrings_of_tests_open_plainly():
    """
    No docstring of tests, benchmarks, examples and scripts opens with a vague verb.
    """
    files = [path for folder in ("tests", "bench", "examples", "scripts") for path in (ROOT / folder).rglob("*.py")]
    bad = {str(path.relative_to(ROOT)): docstring_sins(text_of(path)) for path in files}

    assert {} == {
        path: vague for path, found in bad.items() if (vague := [sin for sin in found if sin.endswith(" ...")])
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""\nTell one from another.\n"""', ["the module: Tell ..."]),
        ('class _A:\n    """\n    Be a lock.\n    """', ["_A: Be ..."]),
        ('async def _f():\n    """\n    Give it.\n    """\n    return 1', ["_f: Give ..."]),
        ('class _A:\n    def f(self):\n        """\n        Do nothing.\n        """', ["f does nothing, and says so"]),
        ("class A:\n    x = 1", ["A has none"]),
        ("def f():\n    return 1", ["f has none"]),
        ("def f(): ...", []),
        ("def _f():\n    return 1", []),
        ('class _A(Protocol):\n    def f(self):\n        """\n        Return it.\n        """', []),
    ],
)
def test_a_bad_docstring_is_found(source, expected):
    """
    Each kind of bad docstring is found, and what is as it should be is not.
    """
    assert expected == docstring_sins(source)
