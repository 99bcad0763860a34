"""
Where a line was logged.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import PurePath
from types import FrameType

from obskit.logs.line_format import Body

_PACKAGE = os.path.dirname(__file__) + os.sep


def stack() -> str:
    """
    Format the stack of the logging call.
    """
    return "".join(traceback.format_stack(caller_frame()))


def add_callsite(body: Body) -> None:
    """
    Add the fields of the logging call's place.
    """
    frame = caller_frame()
    if frame is not None:
        code = frame.f_code
        body.update(callsite(PurePath(code.co_filename).stem, code.co_name, frame.f_lineno))


def callsite(module: str, function: str, line: int) -> Body:
    """
    Return the fields that `log_callsite` adds.
    """
    thread, process = threading.current_thread().name, os.getpid()
    return {"module": module, "function": function, "line": line, "thread": thread, "process": process}


def caller_frame() -> FrameType | None:
    """
    Return the frame of the logging call: the innermost one outside of this folder.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame
