"""
SQL keywords that locate the names of tables.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Dialects where WITH a AS (SELECT ... FROM a) reads a table of that name; elsewhere it reads itself.
NON_RECURSIVE_WITH = ("postgresql", "mysql")

# Kinds of objects that are created, altered and dropped.
OBJECT_KINDS = _words(
    """
    aggregate assembly cast catalog collation column conversion database domain event extension function group index
    language login macro namespace operator package policy procedure publication role rule schema secret sequence
    server stage statistics stream subscription synonym table tablespace tag task text trigger type user view warehouse
    """
)
TABLE_KINDS = ("table", "view")
# Kinds whose definition contains statements that are not executed now.
KINDS_WITH_BODY = ("event", "function", "macro", "package", "procedure", "rule", "trigger", "type")
# Modifiers between a kind and its name, and between a writing verb and its table.
BEFORE_OBJECT_NAME = ("if", "not", "exists", "only", "concurrently")
WRITE_MODIFIERS = _words(
    """
    abort delayed fail high_priority ignore into local low_priority only or overwrite quick replace rollback
    """
)
SET_OPERATORS = ("union", "intersect", "except", "minus", "all", "distinct")
# Modifiers between a verb and its table.
MODIFIERS_BEFORE_TABLE: dict[str, tuple[str, ...]] = {
    "analyze": ("table", "tables", "verbose", "local", "no_write_to_binlog"),
    "cache": ("lazy", "table"),
    "check": ("table", "tables"),
    "checksum": ("table", "tables"),
    "cluster": ("verbose",),
    "copy": ("into",),
    "desc": ("extended", "formatted", "table"),
    "describe": ("extended", "formatted", "table"),
    "explain": ("analyze", "verbose", "query", "plan", "extended", "for"),
    "handler": (),
    "lock": ("table", "tables", "only"),
    "optimize": ("table", "local", "no_write_to_binlog"),
    "refresh": ("materialized", "view", "table", "concurrently"),
    "rename": ("table", "tables"),
    "repair": ("table", "tables", "local", "no_write_to_binlog"),
    "summarize": (),
    "truncate": ("table", "only"),
    "uncache": ("table", "if", "exists"),
    "unlock": (),
    "vacuum": ("full", "freeze", "verbose", "analyze"),
}
# Verbs whose options may stand in parentheses before the table.
VERBS_WITH_OPTIONS = ("analyze", "cluster", "vacuum")
# Verbs that are functions too: replace(a, 'b', 'c').
VERBS_AND_FUNCTIONS = ("insert", "replace", "truncate")
# Verbs of a common table expression that writes.
CTE_VERBS = ("insert", "update", "delete", "merge")
# Hints behind a table in SQL Server; any other parenthesis makes a name a function.
TABLE_HINTS = ("holdlock", "nolock", "readpast", "rowlock", "tablock", "tablockx", "updlock")
# Verbs that another verb may follow.
EXPLAIN_VERBS = ("desc", "describe", "explain")
# Verbs whose target is not a table, and is in the summary; then those without a target.
VERBS_WITH_NAME = ("call", "exec", "execute", "pragma", "use")
VERBS_WITHOUT_TARGET = _words(
    """
    attach begin checkpoint close commit deallocate declare detach discard do end flush import kill listen move
    notify prepare reassign reindex release reset rollback savepoint security show start unlisten
    """
)
# The clauses behind FROM: no comma in them is followed by a table.
CLAUSE_KEYWORDS = _words(
    "where group order having limit offset for window union intersect except minus returning qualify"
)
