"""
Prove that the reference pages are what the code says, and that a stale one is found.
"""

import shutil

import pytest
import reference


@pytest.fixture
def folder(tmp_path):
    """
    Copy the pages.
    """
    return shutil.copytree(reference.FOLDER, tmp_path / "reference")


def test_the_pages_are_fresh(capsys):
    """
    docs/reference/ is what the script would write now.
    """
    assert (reference.main(["--check"]), capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_stale_page_is_found_and_written(folder, name, capsys):
    """
    A page that was edited fails the check, with the command to run, and the command mends it.
    """
    with (folder / name).open("a") as page:
        page.write("| `made_up` |\n")
    asked = ["--folder", str(folder)]

    assert reference.main(["--check", *asked]) == 1
    assert capsys.readouterr().err == f"stale: {name} in docs/reference; run: python scripts/reference.py\n"
    assert reference.main(asked) == 0
    assert reference.main(["--check", *asked]) == 0


def test_a_missing_page_is_stale(folder):
    """
    A page that is not there fails the check.
    """
    (folder / "metrics.md").unlink()

    assert reference.stale(folder) == ["metrics.md"]
