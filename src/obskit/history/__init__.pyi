# Types of the public names, which `__init__.py` imports when they are first used.

from obskit.history.door import covers as covers
from obskit.history.door import open as open
from obskit.history.door import records as records
from obskit.history.door import series as series
from obskit.history.door import totals as totals
from obskit.history.queries import Covered as Covered
from obskit.history.queries import History as History
from obskit.history.queries import SignalSeries as SignalSeries
