"""
Prove what the pages show: their blocks run, their output comes out, their links lead somewhere.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, Page, all_pages

import servers

PAGES = all_pages()
RUNNER = Path(__file__).with_name("run_page.py")
# What differs from run to run: ids, times, figures.
_figure = re.compile(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b|\d+(?:[.:T-]\d+)*(?:e[-+]\d+)?Z?")


def named(pages):
    return [pytest.param(page, id=page.name) for page in pages]


def run(page: Page, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-u", "-W", "error", RUNNER, page.path]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)


def not_found(expected: list[str], found: list[str]) -> list[str]:
    """
    List the expected lines that are not among the others, whatever their figures are.
    """
    known = {_figure.sub("0", line) for line in found}
    return [line for line in expected if _figure.sub("0", line) not in known]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def make_commands(page: Page) -> set[str]:
    return {target for block in page.of("sh") for target in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)}


def not_json(page: Page) -> list[str]:
    """
    List what is no JSON: the lines of an output, or a block as a whole.
    """
    found = []
    for block in page.of("json"):
        for text in block.text.splitlines() if block.note == "output" else [block.text]:
            try:
                json.loads(text)
            except ValueError:
                found.append(text)
    return found


def lost_links(page: Page) -> list[str]:
    return [link for link in page.links if not resolves(page, link)]


def crowded_lines(page: Page) -> list[str]:
    """
    List the lines of prose that hold more than one sentence.
    """
    prose = re.sub(r"`[^`\n]*`|<!--.*?-->", "x", page.prose)
    return [line for line in prose.splitlines() if not line.startswith("|") and re.search(r"[a-z)][.!?] [A-Z]", line)]


def resolves(page: Page, link: str) -> bool:
    target, _, anchor = link.partition("#")
    path = (page.path.parent / target).resolve() if target else page.path
    return path.exists() and (not anchor or anchor in Page(path).anchors)


@pytest.mark.parametrize("page", named(page for page in PAGES if page.of("python") and page.runs_here))
def test_every_python_block_runs(page, tmp_path):
    """
    The blocks of a page run in order, without a warning, and print what the page says.
    """
    done = run(page, tmp_path)

    assert done.returncode == 0, done.stderr[-4000:]
    assert not_found(page.output, done.stdout.splitlines()) == []


@pytest.mark.parametrize("page", named(page for page in PAGES if page.of("json")))
def test_every_json_block_parses(page):
    """
    Each line of a JSON block, or the block as a whole, is JSON.
    """
    assert not_json(page) == []


@pytest.mark.parametrize("promtool", servers.found("promtool"), ids=servers.folder_of)
@pytest.mark.parametrize("page", named(page for page in PAGES if page.of("promql")))
def test_every_expression_is_promql(page, promtool, tmp_path):
    """
    Prometheus' own tool takes each line of a PromQL block.
    """
    lines = [line for block in page.of("promql") for line in block.text.splitlines()]
    rules = [{"record": f"line{number}", "expr": line} for number, line in enumerate(lines)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "page", "rules": rules}]}))

    subprocess.run([promtool, "check", "rules", "rules.yml"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("page", named(page for page in PAGES if page.links))
def test_every_link_resolves(page):
    """
    Links within the repository lead to a file, and to a heading of it.
    """
    assert lost_links(page) == []


@pytest.mark.parametrize("page", named(page for page in PAGES if make_commands(page)))
def test_every_make_command_exists(page):
    """
    Each `make` command that a page shows is a target of the Makefile.
    """
    assert make_commands(page) - make_targets() == set()


def test_the_readme_shows_two_commands():
    """
    A fresh machine needs `make demo` and `make test`, and the README shows nothing else to type before them.
    """
    first = Page(ROOT / "README.md").of("sh")[0]

    assert [line.split("#")[0].strip() for line in first.text.splitlines()] == ["make demo", "make test"]


@pytest.mark.parametrize("page", named(page for page in PAGES if page.path.parent.name == "how-to"))
def test_a_how_to_ends_with_verify_and_troubleshooting(page):
    """
    Each how-to page closes with these two sections.
    """
    headings = re.findall(r"^## (.+)$", page.prose, re.MULTILINE)

    assert headings[-2:] == ["Verify", "Troubleshooting"]


@pytest.mark.parametrize("page", named(PAGES))
def test_a_line_holds_one_sentence(page):
    """
    Prose has a line a sentence, so that a change of one is a change of one line.
    """
    assert crowded_lines(page) == []


def test_the_index_names_every_page():
    """
    docs/README.md links each page of docs/.
    """
    index = Page(ROOT / "docs" / "README.md")
    linked = {(index.path.parent / link.partition("#")[0]).resolve() for link in index.links}
    pages = {page.path for page in PAGES if page.path.is_relative_to(index.path.parent)} - {index.path}

    assert sorted(path.name for path in pages - linked) == []


@pytest.mark.parametrize(
    ("find", "text", "found"),
    [
        (not_json, '```json\n{"a": 1}\n```\n', []),
        (not_json, '```json\n{"a": 1,}\n```\n', ['{"a": 1,}\n']),
        (not_json, '<!-- output -->\n```json\n{"a": 1}\n{"a": 2\n```\n', ['{"a": 2']),
        (lost_links, "# Here\n[one](#here) [two](page.md) [three](page.md#here)\n", []),
        (lost_links, "# Here\n[one](#there) [two](gone.md)\n", ["#there", "gone.md"]),
        (make_commands, "```sh\nmake demo    # serves\nmake test-all\n```\n", {"demo", "test-all"}),
        (crowded_lines, "One. `Two. Three.`\n| Four. Five. |\n```sh\nSix. Seven.\n```\n", []),
        (crowded_lines, "It is one. It is two.\n", ["It is one. It is two."]),
    ],
)
def test_what_is_wrong_with_a_page_is_found(tmp_path, find, text, found):
    """
    What the tests above look for is seen where it is, and not where it is not.
    """
    path = tmp_path / "page.md"
    path.write_text(text)

    assert find(Page(path)) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```python\nx = 1 / 0\n```\n", "ZeroDivisionError"),
        ("```python\nimport warnings\nwarnings.warn('old')\n```\n", "UserWarning: old"),
        ("<!-- file: test_x.py -->\n```python\ndef test():\n    assert 1 == 2\n```\n", "assert 1 == 2"),
    ],
)
def test_a_block_that_fails_is_found(tmp_path, text, says):
    """
    An exception, a warning and a failing test of a page each fail its run.
    """
    path = tmp_path / "page.md"
    path.write_text(text)

    done = run(Page(path), tmp_path)

    assert done.returncode != 0
    assert says in done.stdout + done.stderr


def test_output_is_compared_without_figures():
    """
    Ids, times and figures may differ from the page's; words may not.
    """
    page = ['{"at":"2026-01-02T03:04:05.000006Z","id":"ec33b76f99cf5e0059633e8f7a555360"}', "requests_total 1.0"]
    other = ['{"at":"2027-11-12T13:14:15.161718Z","id":"07cbe09e29c5a0774773d11426e53abb"}', "requests_total 1e+06"]

    assert not_found(page, other) == []
    assert not_found(["status 1"], ["state 1"]) == ["status 1"]
