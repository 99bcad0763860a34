"""
Which tests run beside a Prometheus: those below `if prometheus.found():`, which are not there without one.
"""

import ast
from pathlib import Path

HERE = Path(__file__).parent
_CONDITION = "prometheus.found()"


def names():
    """
    Return them, file and name.
    """
    texts = {path: path.read_text() for path in sorted(HERE.glob("*/test_*.py"))}
    return [
        f"{path.relative_to(HERE).as_posix()}::{test.name}"
        for path, text in texts.items()
        if _CONDITION in text
        for block in ast.parse(text).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == _CONDITION
        for test in block.body
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
    ]


def outside_of_it():
    """
    Return files with a test that a list of servers makes, and that is not below: it would be skipped.
    """
    texts = {path: path.read_text() for path in sorted(HERE.glob("*/test_*.py"))}
    return [
        f"{path.relative_to(HERE).as_posix()}::{test.name}"
        for path, text in texts.items()
        for test in ast.parse(text).body
        if isinstance(test, ast.FunctionDef)
        and test.name.startswith("test_")
        and any(_CONDITION in ast.unparse(it) for it in test.decorator_list)
    ]
