"""
Run the Python blocks of one page as a reader would: in order, in one namespace, in an empty folder.

A block that is a file is written, and imported; `alone` runs it in an interpreter of its own, and a test file is run
by pytest.
"""

import importlib
import subprocess
import sys
from pathlib import Path

from pages import Block, Page


def run(page: Page) -> None:
    sys.path.insert(0, "")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in page.of("python"):
        if block.file is None:
            exec(compile("\n" * (block.line - 1) + block.text, page.name, "exec"), names)
        else:
            run_file(block, Path(block.file))


def run_file(block: Block, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text, "utf-8")
    if file.name.startswith("test_"):
        quietly = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error"]
        subprocess.run([sys.executable, "-m", "pytest", *quietly, file], check=True)
    elif block.alone:
        subprocess.run([sys.executable, "-W", "error", file], check=True)
    else:
        name = ".".join(file.with_suffix("").parts)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        importlib.import_module(name)


if __name__ == "__main__":
    run(Page(Path(sys.argv[1])))
