# Types of the public names, which `__init__.py` imports when they are first used.

from obskit.db.doctor import SqliteReport as SqliteReport
from obskit.db.doctor import sqlite_doctor as sqlite_doctor
from obskit.db.observe import record as record
from obskit.db.slow_log import SlowQuery as SlowQuery
from obskit.db.slow_log import SlowStatement as SlowStatement
from obskit.db.slow_log import slow_queries as slow_queries
from obskit.db.slow_log import slow_statements as slow_statements
from obskit.db.statement import Statement as Statement
from obskit.db.statement import summarize as summarize
