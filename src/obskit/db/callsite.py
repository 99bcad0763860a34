"""
Find the line of the application that asked for a query.
"""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

# Not the application's own code: obskit, drivers, ORMs and frameworks, wherever they are installed.
LIBRARIES = frozenset(
    {
        *("aiosqlite", "anyio", "asgiref", "asyncpg", "django", "fastapi", "flask", "gevent", "greenlet", "gunicorn"),
        *("MySQLdb", "mysql", "obskit", "oracledb", "psycopg", "psycopg2", "psycopg_pool", "pymysql", "pyodbc"),
        *("sqlalchemy", "sqlmodel", "starlette", "uvicorn", "werkzeug"),
    }
)
# Frames that are looked at; deeper stacks are runaway recursion.
MAX_FRAMES = 200
MAX_FILES = 10_000
_INSTALLED = ("site-packages", "dist-packages")
_APPLICATION, _INSTALLED_CODE, _LIBRARY = 0, 1, 2


def call_site() -> str | None:
    """
    Return the innermost line of the application's own code on the stack: `shop/views.py:42 devices`.

    Of an application that is installed as a package, it is the innermost line outside of drivers, ORMs and frameworks.
    None where there is neither, such as in the thread of an asynchronous driver.
    """
    frame = calling_frame(1)
    return (
        format_call_site(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name) if frame is not None else None
    )


def calling_frame(skip: int) -> FrameType | None:
    """
    Return the frame of that line. Costs a tenth of a microsecond for each frame in between.

    Args:
        skip: How many frames above this one are known to be obskit's.
    """
    frame: FrameType | None = sys._getframe(skip)
    second_best: FrameType | None = None
    kinds = _kinds
    for _ in range(MAX_FRAMES):
        if frame is None:
            frame = _frame_of_parent_greenlet()
            if frame is None:
                break
        kind = kinds[frame.f_code.co_filename]
        if kind == _APPLICATION:
            return frame
        if kind == _INSTALLED_CODE and second_best is None:
            second_best = frame
        frame = frame.f_back
    return second_best


def raised_at(error: BaseException) -> str:
    """
    Return the innermost of the application's functions that an exception came through: `shop/views.py devices`.

    It is that of a package where no function is the application's, and empty where there is neither. The line is left
    out, so that the place stays the same where lines are added above it.
    """
    trace, found, second_best = error.__traceback__, "", ""
    for _ in range(MAX_FRAMES):
        if trace is None:
            break
        code = trace.tb_frame.f_code
        kind = _kinds[code.co_filename]
        if kind == _APPLICATION:
            found = f"{_short_path(code.co_filename)} {code.co_name}"
        elif kind == _INSTALLED_CODE:
            second_best = f"{_short_path(code.co_filename)} {code.co_name}"
        trace = trace.tb_next
    return found or second_best


def format_call_site(filename: str, line: int, function: str) -> str:
    """
    Render a call site: `shop/views.py:42 devices`.
    """
    return f"{_short_path(filename)}:{line} {function}"


def _frame_of_parent_greenlet() -> FrameType | None:
    """
    Return the frame in which the awaiting coroutine called SQLAlchemy's asyncio, which runs in a greenlet of its own.
    """
    greenlet: Any = sys.modules.get("greenlet")
    if greenlet is None:
        return None
    parent = greenlet.getcurrent().parent
    return parent.gr_frame if parent is not None else None


class _CodeKinds(dict[str, int]):
    """
    The kind of code in each file; a table, since each frame of each repeated query is looked up.
    """

    def __missing__(self, filename: str) -> int:
        kind = _kind_of(filename)
        if len(self) < MAX_FILES:
            self[filename] = kind
        return kind


_kinds = _CodeKinds()


def _kind_of(filename: str) -> int:
    if filename.startswith("<"):
        return _LIBRARY  # made by exec(), or frozen
    parts = Path(filename).parts
    for installed in _INSTALLED:
        if installed in parts:
            after = parts[len(parts) - parts[::-1].index(installed) :]
            return _LIBRARY if after and after[0].removesuffix(".py") in LIBRARIES else _INSTALLED_CODE
    if filename.startswith((_OBSKIT, *_STDLIB)):
        return _LIBRARY
    # Beside the application, as `pip install --target` puts them.
    return _LIBRARY if _short_path(filename).partition("/")[0] in LIBRARIES else _APPLICATION


_OBSKIT = str(Path(__file__).parents[1]) + "/"
_STDLIB = tuple({sysconfig.get_path(name) + "/" for name in ("stdlib", "platstdlib")})


@lru_cache(4096)
def _short_path(filename: str) -> str:
    """
    Return the path below the folder that the module was found in; else its last three parts.
    """
    found = [
        folder for folder in (*sys.path, str(Path.cwd())) if folder and filename.startswith(folder.rstrip("/") + "/")
    ]
    if found:
        return filename[len(max(found, key=len).rstrip("/")) + 1 :]
    return "/".join(Path(filename).parts[-3:])
