"""
Whether this is Python's main interpreter, or one of several in its process, as mod_wsgi makes them.

Daemon threads that are alive when a sub-interpreter ends abort the whole process, with all its other interpreters. So
ours start in the main interpreter alone, but for those that are over by themselves: these are waited for.
"""

from __future__ import annotations

import _thread
from importlib import import_module


def _is_main() -> bool:
    told = getattr(_thread, "_is_main_interpreter", None)  # from Python 3.12 on
    if told is not None:
        return bool(told())
    try:
        interpreters = import_module("_xxsubinterpreters")
    except ImportError:
        return True
    return bool(interpreters.get_current() == interpreters.get_main())


# Each interpreter has a copy of this module.
IS_MAIN = _is_main()
NO_THREADS = (
    "this is a sub-interpreter, where obskit keeps no threads: queries of gauges are not asked, checks run when they "
    "are asked for, lines of log_queue are written at once; under mod_wsgi, WSGIApplicationGroup %{GLOBAL} gives it "
    "the main one"
)
