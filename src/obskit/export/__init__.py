"""
Write what others need to watch an application, from what it knows of itself.

    obskit.export.prometheus("deploy/prometheus")

Each kind of files is also `python -m obskit export KIND --app MODULE:NAME -o DIRECTORY`.
"""

from obskit.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(globals(), {"for_prometheus": ("prometheus",)})
