"""
Files and functions stay short enough to read: what is longer is named here, with the one subject that it has.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "obskit"
FILE_LINES, FUNCTION_LINES, NINE_OF_TEN_LINES = 400, 60, 16
LONG_FILES = {
    "ai/budget_book.py": "budgets, as one book that counts them",
    "ai/rates.py": "the rate of each kind of token",
    "background.py": "our threads",
    "db/sql_summary.py": "the scan of a statement",
    "health/check_runs.py": "one run of a check, in whatever way it may end",
    "integrations/_ai_call.py": "one call of an SDK",
    "integrations/_starlette_routes.py": "templates of Starlette's routes",
    "integrations/asgi.py": "a request over ASGI",
    "integrations/logging.py": "records of the standard library",
    "integrations/sqlite3.py": "sqlite3's connection and cursor",
    "integrations/wsgi.py": "a request over WSGI",
    "logs/json_handler.py": "one record of the standard library as a line",
    "logs/rotated_files.py": "files that were rotated",
    "logs/writer.py": "the writer of lines",
    "metrics/directory.py": "the directory that workers share",
    "metrics/family.py": "a metric with its label sets",
    "observation.py": "observed functions, generators and blocks",
    "outbound.py": "one HTTP request of our own",
    "redaction/values.py": "what is secret by its look",
    "signals/signal.py": "what all signals have in common, and conditions",
    "storage/own_sqlite.py": "one SQLite file of our own",
}
# On the way of every request, or of every sink: a call of a function costs what a line does not.
LONG_FUNCTIONS = {
    "integrations/wsgi.py:__call__",
    "integrations/asgi.py:__call__",
    "sinks/metrics_by_kind/requests.py:bind",
}


def functions():
    """
    Yield the file and the name of each function, and the lines of its body without its docstring.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                yield f"{path.relative_to(PACKAGE).as_posix()}:{node.name}", node.end_lineno - body[0].lineno + 1


def test_long_files_have_one_subject():
    """
    Each file over 400 lines stands here, and no other.
    """
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    long = {path.relative_to(PACKAGE).as_posix() for path, count in lines.items() if count > FILE_LINES}

    assert set(LONG_FILES) == long


def test_functions_are_short():
    """
    Nine of ten functions have at most 16 lines, and those over 60 stand here.
    """
    sizes = sorted(count for _, count in functions())
    long = {name for name, count in functions() if count > FUNCTION_LINES}

    assert len(sizes) > 1_000
    assert sizes[len(sizes) * 9 // 10] <= NINE_OF_TEN_LINES
    assert long == LONG_FUNCTIONS
