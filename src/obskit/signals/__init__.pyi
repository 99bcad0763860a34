# Types of the public names, which `__init__.py` imports when they are first used.

from obskit.signals.definitions import age as age
from obskit.signals.definitions import first as first
from obskit.signals.definitions import fraction as fraction
from obskit.signals.definitions import growth as growth
from obskit.signals.definitions import increase as increase
from obskit.signals.definitions import level as level
from obskit.signals.definitions import mean as mean
from obskit.signals.definitions import quantile as quantile
from obskit.signals.definitions import rate as rate
from obskit.signals.definitions import ratio as ratio
from obskit.signals.matching import matches as matches
from obskit.signals.samples import MemorySamples as MemorySamples
from obskit.signals.samples import Samples as Samples
from obskit.signals.samples import Series as Series
from obskit.signals.signal import Condition as Condition
from obskit.signals.signal import Signal as Signal
