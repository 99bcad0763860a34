# Types of the public names, which `__init__.py` imports when they are first used.

from obskit.export.for_prometheus import prometheus as prometheus
