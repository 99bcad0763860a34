# Types of the public names, which `__init__.py` imports when they are first used.

from obskit.metrics.snapshots import Exemplar as Exemplar
from obskit.metrics.snapshots import FamilySnapshot as FamilySnapshot
from obskit.metrics.snapshots import MetricsSnapshot as MetricsSnapshot
from obskit.metrics.snapshots import snapshot as snapshot
