"""
Measure what it costs to summarise a statement: one that is kept, one that is new, and whatever text there may be.

Times are those of the processor in this thread, so that a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import count
from time import thread_time_ns

from bench.figures import keep
from obskit.db.fingerprint import shape
from obskit.db.sql_masking import lexicon, mask
from obskit.db.sql_summary import read, scan
from obskit.db.statement import StatementCache, summarize

DIALECTS = ("postgresql", "sqlite", "mysql", "standard")
KEPT_NS, LIST_MS = 150, 3.0
# A time for each kB that grows more than this between sizes is not linear.
GROWTH = 2.5

TYPICAL = {
    "three columns by key": "SELECT id, name, price FROM plants WHERE id = %s",
    "an ORM's, quoted": 'SELECT "shop_plant"."id", "shop_plant"."name", "shop_plant"."price" FROM "shop_plant" '
    'WHERE ("shop_plant"."id" = %s AND "shop_plant"."active") ORDER BY "shop_plant"."name" ASC LIMIT 21',
    "a join": "SELECT d.id, d.name, o.total FROM devices d JOIN orders o ON o.device_id = d.id "
    "WHERE d.active = %s AND o.created_at > %s ORDER BY o.created_at DESC LIMIT 20",
    "literals written in": "INSERT INTO plants (name, price, note) "
    "VALUES ('Monstera', 25.5, 'it''s green'), ('Ficus', 12, NULL)",
    "an expression in WITH": "WITH top AS (SELECT plant_id, sum(total) AS t FROM orders GROUP BY plant_id) "
    "SELECT p.name, top.t FROM plants p JOIN top ON top.plant_id = p.id WHERE top.t > (SELECT avg(total) FROM orders)",
}
UNITS = {
    "strings": "'a''b', ",
    "quotes": "'",
    "double quotes": '"',
    "escapes": "\\'",
    "escaped strings": "E'\\'', ",
    "dollar tags": "$a$ $b$ ",
    "open comments": "/* ",
    "comments": "/**/ ",
    "hints": "/*! a ",
    "line comments": "--\n",
    "numbers": "1, ",
    "digits": "1",
    "signs": "-",
    "letters": "a",
    "words": "a ",
    "columns": "a, ",
    "dots": "a . ",
    "brackets": "[a ",
    "parentheses": "(",
    "lists": "in (1, ",
    "rows": "values (1, 'a'), ",
    "texts in double quotes": '= "a" ',
    "parameters": "$1, ",
    "subqueries": "from (select ",
    "expressions": "with a as (",
    "joins": "join a ",
    "statements": "delete a; ",
    "spaces": " ",
    "not ASCII": "é€ ",
    "zeros": "\0",
}


def per_call(call: Callable[[], object], times: int, repeats: int = 7) -> float:
    """
    Return the nanoseconds of one call, as the median of some repeats.
    """
    taken = []
    for _ in range(repeats):
        started = thread_time_ns()
        for _ in range(times):
            call()
        taken.append((thread_time_ns() - started) / times)
    return statistics.median(taken)


def _kept() -> None:
    sql, floor = TYPICAL["a join"], {TYPICAL["a join"]: None}
    summarize(sql)
    empty = per_call(lambda: None, 100_000)
    piece, least = per_call(lambda: summarize(sql), 100_000) - empty, per_call(lambda: floor[sql], 100_000) - empty
    print(f"kept: {piece:.0f} ns, where a look-up in a dictionary takes {least:.0f} (goal: under {KEPT_NS} ns)\n")
    keep("kept: ns", piece)


def _new() -> None:
    theirs = "sqlglot us" if find_spec("sqlglot") else "(no sqlglot)"
    print(f"{'new':26}{'characters':>11}" + "".join(f"{dialect + ' us':>15}" for dialect in DIALECTS) + f"{theirs:>15}")
    for name, sql in TYPICAL.items():
        row = [per_call(partial(StatementCache(dialect, 0).__getitem__, sql), 500) / 1000 for dialect in DIALECTS]
        keep(f"new, {name}: us", statistics.mean(row))
        if find_spec("sqlglot"):
            import sqlglot

            row.append(per_call(partial(sqlglot.parse_one, sql.replace("%s", "?")), 50) / 1000)
        print(f"{name:26}{len(sql):>11}" + "".join(f"{cost:>15.1f}" for cost in row), flush=True)


def _other_literals() -> None:
    kept, numbers = StatementCache("postgresql"), count()
    cost = per_call(lambda: kept[f"SELECT id, name, price FROM plants WHERE id = {next(numbers)} LIMIT 20"], 2000)
    print(f"\na kept statement with other literals written in: {cost / 1000:.1f} us")
    keep("other literals: us", cost / 1000)


def _long_list() -> None:
    kept = StatementCache("postgresql", 0)
    sql = "SELECT * FROM plants WHERE id IN (" + ", ".join(str(number) for number in range(100_000, 114_750)) + ")"
    cost = per_call(lambda: kept[sql], 5) / 1e6
    print(f"a list in an IN, {len(sql) / 1000:.0f} kB: {cost:.2f} ms (goal: at most {LIST_MS:.0f} ms)\n")
    keep("a list in an IN: ms", cost)


def _uncut(sql: str, dialect: str) -> None:
    text = mask(sql, lexicon(dialect))
    tokens = scan(text, dialect)
    read(tokens, dialect)
    shape(tokens, "")


def _hostile(sizes: list[int]) -> list[str]:
    """
    Print the costliest text of each dialect, and name each text whose cost is not linear.
    """
    print("us for each kB, all of the text read although it would be cut; and ms for the largest as it is cut")
    print(f"{'dialect':12}{'costliest text':24}" + "".join(f"{size:>7} kB" for size in sizes) + f"{'cut, ms':>10}")
    bent = []
    for dialect in DIALECTS:
        costs, kept = {}, StatementCache(dialect, 0)
        for name, unit in UNITS.items():
            texts = ["select " + unit * (size * 1000 // len(unit)) for size in sizes]
            row = [
                per_call(partial(_uncut, text, dialect), 1, 3) / 1000 / size
                for text, size in zip(texts, sizes, strict=True)
            ]
            costs[name] = row, per_call(partial(kept.__getitem__, texts[-1]), 1, 3) / 1e6
            if row[-1] > GROWTH * max(row[:-1]):
                bent.append(f"{name} in {dialect}")
        for name, (row, cut) in sorted(costs.items(), key=lambda item: -max(item[1][0]))[:3]:
            print(f"{dialect:12}{name:24}" + "".join(f"{cost:>10.0f}" for cost in row) + f"{cut:>10.2f}", flush=True)
        worst = max(cut for _, cut in costs.values())
        print(f"{dialect:12}{'most for any, cut':24}" + " " * 10 * len(sizes) + f"{worst:>10.2f}", flush=True)
        keep(f"hostile, cut, {dialect}: ms", statistics.mean(cut for _, cut in costs.values()))
    return bent


def main(arguments: list[str]) -> None:
    """
    Print the tables, and fail where a cost is not linear.
    """
    parser = argparse.ArgumentParser(prog="python -m bench sql")
    parser.add_argument("--sizes", default="1,10,100,1000", help="in kB, from small to large")
    parser.add_argument("--pin", type=int, default=0)
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.pin})
    _kept()
    _new()
    _other_literals()
    _long_list()
    bent = _hostile([int(size) for size in options.sizes.split(",")])
    if bent:
        raise SystemExit(f"not linear: {', '.join(bent)}")
