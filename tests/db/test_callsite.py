"""
Who asked for a query: the innermost line of the application's own code.
"""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from obskit.db import callsite
from obskit.db.callsite import call_site


def line_here():
    return sys._getframe(1).f_lineno


def test_the_line_that_asks_is_named():
    """
    File, line and function of the caller are given, the file without the folder that it was imported from.
    """
    found, line = call_site(), line_here()

    assert found.endswith(f"test_callsite.py:{line} test_the_line_that_asks_is_named")
    assert not found.startswith("/")


def run_in(folder, path, code):
    """
    Run code as a file of that path, with this folder as the application's, and give what it returns.
    """
    namespace = {"call_site": call_site}
    exec(compile(textwrap.dedent(code), str(folder / path), "exec"), namespace)
    return namespace


@pytest.mark.parametrize(
    "library",
    [
        "venv/lib/python3.11/site-packages/sqlalchemy/engine/base.py",
        "venv/lib/python3.11/site-packages/django/db/models/query.py",
        "usr/lib/python3/dist-packages/psycopg/cursor.py",
        "venv/lib/python3.11/site-packages/aiosqlite.py",
    ],
)
def test_lines_of_drivers_and_orms_are_passed_over(tmp_path, library):
    """
    The caller of a library's function is named, not the library.
    """
    ask = run_in(tmp_path, library, "def ask(): return call_site()")["ask"]
    found, line = ask(), line_here()

    assert found.endswith(f"test_callsite.py:{line} test_lines_of_drivers_and_orms_are_passed_over")


def test_lines_of_installed_code_give_way_to_the_applications(tmp_path):
    """
    Other installed packages are passed over where the application's own code called them.
    """
    path = "venv/lib/python3.11/site-packages/rest_framework/views.py"
    ask = run_in(tmp_path, path, "def ask(): return call_site()")["ask"]

    assert "test_callsite.py" in ask()


def test_an_application_that_is_installed_is_found(tmp_path):
    """
    Where all code is installed, the innermost line outside of drivers and ORMs is named.
    """
    package = tmp_path / "site-packages" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "def devices():\n    from obskit.db.callsite import call_site\n    print(call_site())\n"
    )
    command = [sys.executable, "-c", "import shop; shop.devices()"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package.parent), *sys.path])}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, cwd=tmp_path)

    assert done.stdout.strip() == "shop/__init__.py:3 devices"


def test_nobody_asked_where_no_application_is_on_the_stack():
    """
    In the thread of a library there is no call site, and none is made up.
    """
    code = """
        import concurrent.futures
        from obskit.db.callsite import call_site
        print(concurrent.futures.ThreadPoolExecutor(1).submit(call_site).result())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "None"


def test_the_standard_library_is_no_application():
    """
    A callback that the standard library makes is named, not the standard library.
    """
    found = ThreadPoolExecutor(1).submit(lambda: call_site()).result()

    assert found.endswith("<lambda>")


def test_a_file_outside_of_every_folder_is_cut_short():
    """
    Of a path that no folder of imports holds the last three parts are shown: it may name a person.
    """
    assert callsite._short_path("/srv/ada/app/shop/views.py") == "app/shop/views.py"


def test_a_coroutine_behind_a_greenlet_is_found():
    """
    SQLAlchemy's asyncio runs a query in a greenlet: the coroutine that awaits it is named.
    """
    greenlet = pytest.importorskip("greenlet")
    package = Path(callsite.__file__).parents[1]
    run = {"call_site": call_site}
    exec(compile("def run(): return call_site()", str(package / "made.py"), "exec"), run)
    child = greenlet.greenlet(run["run"])

    assert "test_a_coroutine_behind_a_greenlet_is_found" in child.switch()
