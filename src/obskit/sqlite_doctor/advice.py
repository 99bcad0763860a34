"""
Recommend what to do with a SQLite file, by what was found in it.

Every rule is a function of the findings. Limits that SQLite's documentation does not give are ours, defined here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from obskit.sqlite_doctor.report import (
    SEVERITIES,
    Advice,
    ConnectionPragmas,
    Index,
    MeasuredStatement,
    SqliteFindings,
    size,
)

DOCS = "https://sqlite.org/"
MB = 1_000_000
# wal.html, "The WAL-Reset Bug": in 3.7.0 to 3.51.2, but for two branches that were mended.
WAL_RESET_FIXED = (3, 51, 3)
WAL_RESET_BRANCHES = {44: 6, 50: 7}
# A checkpoint comes at 1000 pages, which is 4 MB; sixteen of them are more than a burst.
LARGE_WAL_BYTES = 64 * MB
# VACUUM takes the write lock and time: not for less than this.
FREE_SHARE, FREE_BYTES = 0.25, 10 * MB
# An ANALYZE is stale where a table has this many times as many rows, or as few; PRAGMA optimize waits for ten.
STALE_FACTOR = 3
# Below, any plan is fast.
FEW_ROWS = 1000
MAX_TABLES = 5  # with an advice of their own
SEARCHING = ("select", "update", "delete")
MAX_QUOTED = 200  # characters of a statement


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    The bounds of what is large: bytes of a file, rows of a table, slow queries.
    """

    large_bytes: float = 1_000_000_000
    many_rows: int = 100_000
    many_slow_queries: int = 10


DEFAULT_BOUNDS = Bounds()
ForeignKey = tuple[str, tuple[str, ...], str]


def _status(report: SqliteFindings) -> Iterator[Advice]:
    if report.status == "missing":
        yield Advice("critical", "missing", f"There is no file {report.path}: check the path, and the folder's mount.")
    elif report.status == "empty":
        yield Advice("warn", "empty", "The file has no byte: nothing was ever written to it, or it was truncated.")
    elif report.status == "not_a_database":
        yield Advice(
            "critical",
            "not-a-database",
            f"SQLite says: {report.problem}. It is another kind of file, or it is encrypted (SQLCipher, SEE), which "
            "the SQLite of this Python cannot read.",
            DOCS + "fileformat2.html",
        )
    elif report.status == "locked":
        yield Advice(
            "warn",
            "locked",
            f"SQLite says: {report.problem}. Another connection holds an exclusive lock, for more than a second: find "
            "the long transaction, or `locking_mode = EXCLUSIVE`.",
            DOCS + "lockingv3.html",
        )
    elif report.status == "corrupt":
        yield Advice(
            "critical",
            "corrupt",
            f"SQLite says: {report.problem}. Stop writing to it, copy the file with its -wal and -journal, and "
            "restore a backup; `.recover` of the sqlite3 shell saves what can be read.",
            DOCS + "recovery.html",
        )
    elif report.status == "unreadable":
        yield Advice("critical", "unreadable", _unreadable(report), DOCS + "wal.html")


def _unreadable(report: SqliteFindings) -> str:
    text = f"It cannot be read: {report.problem}. Check the rights of this user to the file and its folder."
    if report.journal_bytes:
        return text + " A rollback journal of a crash is beside it: only a connection that may write can apply it."
    return text + " In WAL mode, even reading needs the -shm file, or the right to make it."


def _wal_reset(report: SqliteFindings) -> Iterator[Advice]:
    version = tuple(int(part) for part in report.sqlite_version.split("."))
    is_mended = version >= WAL_RESET_FIXED or version[2] >= WAL_RESET_BRANCHES.get(version[1], 999)
    if report.journal_mode == "wal" and not is_mended:
        yield Advice(
            "warn",
            "wal-reset-bug",
            f"SQLite {report.sqlite_version} can corrupt a WAL database when two connections write or checkpoint in "
            "the same instant. It is rare, and mended in 3.51.3, 3.50.7 and 3.44.6: bring one of them, or let one "
            "process alone write.",
            DOCS + "wal.html#walresetbug",
        )


def _wal_size(report: SqliteFindings) -> Iterator[Advice]:
    if report.wal_bytes and report.wal_bytes > max(LARGE_WAL_BYTES, (report.size_bytes or 0) // 2):
        yield Advice(
            "warn",
            "large-wal",
            f"The WAL has {size(report.wal_bytes)} beside a file of {size(report.size_bytes)}: a reader that stayed "
            "open, or a long write, kept checkpoints from finishing. End it, then run "
            "`PRAGMA wal_checkpoint(TRUNCATE)`: the file does not shrink by itself.",
            DOCS + "wal.html",
        )


def _journal(report: SqliteFindings) -> Iterator[Advice]:
    if report.journal_mode in ("delete", "truncate", "persist"):
        yield Advice(
            "info",
            "rollback-journal",
            f"With journal_mode {report.journal_mode} a writer waits for every reader, and readers for it. "
            "`PRAGMA journal_mode = WAL`, once, lets them go on together; not on a network file system.",
            DOCS + "wal.html",
        )


def _writable(report: SqliteFindings) -> Iterator[Advice]:
    if report.can_write is False:
        yield Advice("warn", "not-writable", f"It cannot be written now: {report.can_write_because}.")


def _disk(report: SqliteFindings) -> Iterator[Advice]:
    free, taken = report.disk_free_bytes, (report.size_bytes or 0) + (report.wal_bytes or 0)
    if free is not None and free < max(taken, 100 * MB):
        yield Advice(
            "warn",
            "disk",
            f"{size(free)} are free on its disk, for a database of {size(taken)}: a VACUUM or a copy beside it needs "
            "as much again, and on a full disk even a DELETE fails.",
            DOCS + "lang_vacuum.html",
        )


def _free_pages(report: SqliteFindings) -> Iterator[Advice]:
    if not report.page_count or not report.page_size or not report.free_pages:
        return
    share, wasted = report.free_pages / report.page_count, report.free_pages * report.page_size
    if share >= FREE_SHARE and wasted >= FREE_BYTES:
        yield Advice(
            "info",
            "free-pages",
            f"{report.free_pages:,} of {report.page_count:,} pages ({100 * share:.0f} %, {size(wasted)}) are free. "
            "They will be used again; to give them back to the disk run VACUUM, which takes the write lock and needs "
            f"up to {size(2 * (report.size_bytes or 0))} more for a while.",
            DOCS + "lang_vacuum.html",
        )


def _large(report: SqliteFindings, bounds: Bounds) -> Iterator[Advice]:
    taken = report.size_bytes or 0
    if taken > bounds.large_bytes:
        largest = max(report.tables, key=lambda table: table.size_bytes or 0, default=None)
        most = (
            f" {largest.name} takes {size(largest.size_bytes)} of it."
            if largest and largest.size_bytes is not None
            else ""
        )
        yield Advice(
            "info",
            "large-file",
            f"The file has {size(taken)}, more than {size(bounds.large_bytes)}.{most} A copy or a VACUUM needs as "
            "much room again, and a check reads all of it: see that there is time and room for both, and move what is "
            "no longer asked for into a file of its own.",
        )


def _many_rows(report: SqliteFindings, bounds: Bounds) -> Iterator[Advice]:
    found = [table for table in report.tables if table.rows is not None and table.rows >= bounds.many_rows]
    found.sort(key=lambda table: -(table.rows or 0))
    for table in found[:MAX_TABLES]:
        mark = {"estimated": "about ", "at least": "at least "}.get(table.rows_are, "")
        taken = "" if table.size_bytes is None else f" in {size(table.size_bytes)}"
        names = [index.name for index in report.indexes if index.table == table.name]
        indexed = f"{len(names)} {'index' if len(names) == 1 else 'indexes'} ({_some(names)})" if names else "no index"
        yield Advice(
            "info",
            "many-rows",
            f"{table.name} has {mark}{table.rows:,} rows{taken}, and {indexed}: a query that finds no index for its "
            "WHERE or ORDER BY reads all of them. `EXPLAIN QUERY PLAN` says SCAN for such a query; give it an index, "
            "and keep old rows elsewhere.",
            DOCS + "queryplanner.html",
        )
    if others := [table.name for table in found[MAX_TABLES:]]:
        yield Advice("info", "many-rows", f"{bounds.many_rows:,} rows or more have {_some(others)}, too.")


def _slow_queries(report: SqliteFindings, bounds: Bounds) -> Iterator[Advice]:
    if not report.slow_statements or (report.slow_queries or 0) < bounds.many_slow_queries:
        return
    first = report.slow_statements[0]
    statement = " ".join((first.text or first.summary).split())
    if len(statement) > MAX_QUOTED:
        statement = statement[: MAX_QUOTED - 3] + "..."
    site = f", asked by {first.slowest.call_site}" if first.slowest.call_site else ""
    yield Advice(
        "warn",
        "slow-queries",
        f"{report.slow_queries:,} slow queries of this process name its tables. The most time took "
        f"`{statement}`{site}: {_times(first)}. {_remedy(first)}",
        DOCS + "eqp.html",
    )


def _times(statement: MeasuredStatement) -> str:
    if statement.count == 1:
        return f"once, {statement.max_ms:,.0f} ms"
    return (
        f"{statement.count:,} times, {statement.mean_ms:,.0f} ms on average, {statement.max_ms:,.0f} ms at most, "
        f"{statement.total_ms / 1000:,.1f} s together"
    )


def _remedy(statement: MeasuredStatement) -> str:
    if not statement.summary.lower().startswith(SEARCHING):
        return (
            "Writes wait for each other and for the disk: put many into one transaction, and keep transactions short."
        )
    hint = "SCAN is a look at every row: an index for what its WHERE and ORDER BY name makes it a SEARCH."
    if statement.plan:
        return f"Its plan: {'; '.join(statement.plan.splitlines())}. {hint}"
    return f"See its `EXPLAIN QUERY PLAN`, or set `explain_slow_queries`. {hint}"


def _page_size(report: SqliteFindings) -> Iterator[Advice]:
    if report.page_size and report.page_size < 4096 and (report.size_bytes or 0) > FREE_BYTES:
        yield Advice(
            "info",
            "page-size",
            f"Pages have {report.page_size:,} bytes, an old default; since SQLite 3.12 it is 4096, which suits most "
            "disks. `PRAGMA page_size = 4096`, then VACUUM; not in WAL mode.",
            DOCS + "pgszchng2016.html",
        )


def _pragmas(report: SqliteFindings, keys: list[ForeignKey]) -> Iterator[Advice]:
    found = report.connections or ()
    if off := sum(one.connections for one in found if one.synchronous == "off"):
        yield Advice(
            "warn",
            "synchronous-off",
            f"{_open(off, found)} `synchronous = OFF`: a crash of the system, or a power cut, can corrupt the file. "
            "NORMAL is nearly as fast in WAL mode, and safe.",
            DOCS + "pragma.html#pragma_synchronous",
        )
    full = sum(one.connections for one in found if one.synchronous in ("full", "extra"))
    if full and report.journal_mode == "wal":
        yield Advice(
            "info",
            "synchronous-full",
            f"{_open(full, found)} `synchronous = FULL`, which waits for the disk with each commit. In WAL mode NORMAL "
            "keeps the file sound, and waits at checkpoints alone; a power cut may take back the last commits.",
            DOCS + "pragma.html#pragma_synchronous",
        )
    if keys and (unchecked := sum(one.connections for one in found if not one.foreign_keys)):
        tables = sorted({table for table, _, _ in keys})
        whose = f"{_some(tables)} {_have(tables)}"
        yield Advice(
            "warn",
            "foreign-keys-off",
            f"{_open(unchecked, found)} `foreign_keys = OFF`, though {whose} foreign keys, "
            "which are not enforced. `PRAGMA foreign_keys = ON` is for each connection, after it is opened.",
            DOCS + "foreignkeys.html#fk_enable",
        )
    if hasty := sum(one.connections for one in found if not one.busy_timeout_ms):
        yield Advice(
            "warn",
            "no-busy-timeout",
            f"{_open(hasty, found)} no busy timeout: where another one writes, `database is locked` is raised at once. "
            "`sqlite3.connect(path, timeout=5)` waits.",
            DOCS + "pragma.html#pragma_busy_timeout",
        )


def _open(some: int, connections: Iterable[ConnectionPragmas]) -> str:
    every = sum(one.connections for one in connections)
    return f"{some:,} of {every:,} open connections {'has' if some == 1 else 'have'}"


def _statistics(report: SqliteFindings, estimates: dict[str, int]) -> Iterator[Advice]:
    indexed = {index.table for index in report.indexes}
    large = [table for table in report.tables if table.name in indexed and (table.rows or 0) >= FEW_ROWS]
    missing = [table.name for table in large if table.name not in estimates]
    if missing:
        yield Advice(
            "info",
            "no-statistics",
            f"{_some(missing)} {_have(missing)} indexes, {FEW_ROWS:,} rows or more, and no statistics: SQLite chooses "
            "between indexes by guess. Run `optimize()` of this report, or `PRAGMA optimize` when connections close.",
            DOCS + "lang_analyze.html",
        )
    for table in large:
        then = estimates.get(table.name)
        if table.rows_are != "exact" or then is None or table.rows is None:
            continue
        if table.rows > STALE_FACTOR * then or then > STALE_FACTOR * table.rows:
            yield Advice(
                "info",
                "stale-statistics",
                f"{table.name} has {table.rows:,} rows; when ANALYZE last ran it had {then:,}. Run `optimize()` of "
                "this report.",
                DOCS + "lang_analyze.html",
            )


def _redundant_indexes(report: SqliteFindings) -> Iterator[Advice]:
    for index in report.indexes:
        wider = next((other for other in report.indexes if _covers(other, index)), None)
        if wider is not None:
            yield Advice(
                "info",
                "redundant-index",
                f"{index.name} ({', '.join(index.columns)}){_of(index)} is the beginning of {wider.name} "
                f"({', '.join(wider.columns)}), which serves its queries too: every write pays for both. Drop "
                f"{index.name}, unless a query of yours is slower then.",
                DOCS + "queryplanner.html",
            )


def _covers(wider: Index, index: Index) -> bool:
    plain = not (index.is_unique or index.is_partial or wider.is_partial or "<expression>" in wider.columns)
    starts = wider.columns[: len(index.columns)] == index.columns
    is_longer = (len(wider.columns), wider.is_unique, wider.name) > (len(index.columns), False, index.name)
    return plain and wider.table == index.table and wider.name != index.name and starts and is_longer


def _foreign_keys(report: SqliteFindings, keys: list[ForeignKey]) -> Iterator[Advice]:
    rows = {table.name: table.rows or 0 for table in report.tables}
    for table, columns, parent in keys:
        has_index = any(
            index.table == table and not index.is_partial and set(index.columns[: len(columns)]) == set(columns)
            for index in report.indexes
        )
        if not has_index and rows.get(table, 0) >= FEW_ROWS:
            yield Advice(
                "info",
                "foreign-key-without-index",
                f"{table} ({', '.join(columns)}) refers to {parent} and has no index: where foreign keys are enforced, "
                f"each DELETE from {parent} reads all {rows[table]:,} rows of {table}.",
                DOCS + "foreignkeys.html#fk_indexes",
            )


def _of(index: Index) -> str:
    return "" if index.size_bytes is None else f", {size(index.size_bytes)},"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _have(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"


_RULES: tuple[Callable[[SqliteFindings], Iterator[Advice]], ...] = (
    *(_status, _wal_reset, _wal_size, _writable, _disk, _free_pages, _journal, _page_size, _redundant_indexes),
)

_BOUNDED = (_slow_queries, _many_rows, _large)


def advise(
    report: SqliteFindings, estimates: dict[str, int], foreign_keys: list[ForeignKey], bounds: Bounds = DEFAULT_BOUNDS
) -> tuple[Advice, ...]:
    """
    Return the advice for a report, the most severe first.

    Args:
        estimates: Rows of each table when ANALYZE last ran.
        foreign_keys: Table, its columns, and the table they refer to.
        bounds: What is large.
    """
    found = [advice for rule in _RULES for advice in rule(report)]
    found += [advice for bound in _BOUNDED for advice in bound(report, bounds)]
    found += _pragmas(report, foreign_keys)
    found += _statistics(report, estimates)
    found += _foreign_keys(report, foreign_keys)
    return tuple(sorted(found, key=lambda advice: SEVERITIES.index(advice.severity)))
