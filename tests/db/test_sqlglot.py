"""
Operation and tables against a real parser, over statements that were not written for us.

The statements are sqlglot's own test fixtures: see data/README.md.
"""

import json
import lzma
from pathlib import Path

import pytest

from obskit.db import summarize

sqlglot = pytest.importorskip("sqlglot")
exp = sqlglot.exp

FIXTURES = json.loads(lzma.decompress((Path(__file__).parent / "data" / "sqlglot-30.30.0.json.xz").read_bytes()))
SHARE = 0.97
# What sqlglot calls otherwise; what is in neither table is an expression, and no statement.
OPERATIONS = {
    **dict.fromkeys(("union", "except", "intersect", "subquery"), "select"),
    "loaddata": "load",
    "transaction": "begin",
}
STATEMENTS = set(OPERATIONS.values()) | {
    *("alter", "analyze", "cache", "comment", "commit", "create", "delete", "describe", "drop", "grant", "insert"),
    *("kill", "pragma", "revoke", "rollback", "set", "uncache", "update", "use"),
}
# Statement -> why we differ.
KNOWN = {
    "SELECT * FROM project.dataset.INFORMATION_SCHEMA.TABLES": "sqlglot takes it for a function of BigQuery",
    "values": "a column for sqlglot, where a statement stands",
    **{
        f'CREATE TABLE t AS "{name}"': "no table is read without a FROM"
        for name in ("minvalue", "increment", "start", "cache", "sample")
    },
    'CREATE INDEX i ON t(c "nulls")': "sqlglot takes the class of an operator for a table",
}


def is_no_table(table):
    """
    Return whether sqlglot has a name as a table's that is a schema's, a function's or a role's.
    """
    parent = table.parent.parent if isinstance(table.parent, exp.Schema) else table.parent
    if isinstance(parent, (exp.Use, exp.UserDefinedFunction)):
        return True
    kind = str(parent.args.get("kind") or "") if isinstance(parent, DEFINITIONS) else ""
    return kind.upper() not in ("", "TABLE", "VIEW", "MATERIALIZED VIEW")


DEFINITIONS = (exp.Create, exp.Drop, exp.Comment, exp.Grant, exp.Revoke)


def is_cte(table):
    """
    Return whether a name is that of a common table expression which is in sight.
    """
    node, inside = table, set()
    while node is not None:
        inside.add(id(node))
        ctes = node.args.get("with_")
        for cte in ctes.expressions if ctes else ():
            is_itself = id(cte) in inside and not ctes.args.get("recursive")
            if not table.db and cte.alias.lower() == table.name.lower() and not is_itself:
                return True
        node = node.parent
    return False


def of_sqlglot(sql):
    tree = sqlglot.parse_one(sql)
    operation = OPERATIONS.get(tree.key, tree.key)
    tables = {
        ".".join(part.name for part in table.parts).lower()
        for table in tree.find_all(exp.Table)
        if isinstance(table.this, exp.Identifier) and not is_no_table(table) and not is_cte(table)
    }
    return operation if operation in STATEMENTS else "", tables


def ours(sql):
    statement = summarize(sql, "other_sql")
    return statement.operation, {table.replace('"', "").lower() for table in statement.tables}


@pytest.mark.parametrize(("fixture", "count"), [("identity", 990), ("tpc-h", 44), ("tpc-ds", 198)])
def test_operation_and_tables_agree(fixture, count):
    """
    At least 97 in 100 statements agree, and those that do not are the ones listed above.
    """
    statements = FIXTURES[fixture]
    differ = [sql for sql in statements if ours(sql) != of_sqlglot(sql)]

    assert count == len(statements)
    assert [sql for sql in differ if sql not in KNOWN] == []
    assert 1 - len(differ) / count >= SHARE


def test_what_is_known_to_differ_still_differs():
    """
    The list of differences names none that has gone.
    """
    assert [sql for sql in KNOWN if ours(sql) == of_sqlglot(sql)] == []


def test_the_longest_statement_is_read_to_its_end():
    """
    No statement of the fixtures is cut.
    """
    assert [sql for sql in FIXTURES["tpc-ds"] if summarize(sql, "other_sql").text.endswith("...")] == []
