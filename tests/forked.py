"""
Run a part of a test in a forked child.
"""

import os
import traceback
from collections.abc import Callable


def in_child(work: Callable[[], object]) -> str:
    """
    Run a function in a forked child, and give what it returns as text; of what it raises the traceback.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            told = str(work())
        except BaseException:
            told = traceback.format_exc()
        try:
            os.write(writer, told.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text
