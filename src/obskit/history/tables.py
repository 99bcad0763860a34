"""
The tables of a series file, of any step, and the ids that metrics and label sets have in one.

People read the views `counters`, `gauges` and `histograms`, with names and labels in place of ids.
"""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple, TypeAlias

from obskit.catalogue import Metric
from obskit.metrics.cell_format import LabelSet
from obskit.storage.own_sqlite import Schema

Bounds: TypeAlias = tuple[float, ...]

_VIEW = """
CREATE VIEW {view} AS
SELECT datetime(point.at, 'unixepoch') AS moment, point.at, metric.name, label_set.labels, {columns}
FROM point JOIN metric ON metric.id = point.metric JOIN label_set ON label_set.id = point.label_set
WHERE metric.kind = '{kind}';
"""
_TABLES = f"""
CREATE TABLE metric (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, unit TEXT NOT NULL, workers TEXT NOT NULL,
    is_shared INTEGER NOT NULL, label_names TEXT NOT NULL, bounds TEXT NOT NULL,
    UNIQUE (name, kind, label_names, bounds, workers, is_shared, unit));
CREATE TABLE label_set (
    id INTEGER PRIMARY KEY, metric INTEGER NOT NULL, labels TEXT NOT NULL, first_at INTEGER NOT NULL,
    UNIQUE (metric, labels));
CREATE TABLE sampling (at INTEGER PRIMARY KEY, samples INTEGER NOT NULL, step INTEGER NOT NULL);
CREATE TABLE point (
    at INTEGER NOT NULL, metric INTEGER NOT NULL, label_set INTEGER NOT NULL,
    value REAL, n INTEGER, lanes BLOB, lowest REAL, highest REAL, highest_at INTEGER, total REAL,
    PRIMARY KEY (at, metric, label_set)) WITHOUT ROWID;
CREATE TABLE total (
    instance TEXT NOT NULL, label_set INTEGER NOT NULL, figures BLOB NOT NULL,
    PRIMARY KEY (instance, label_set)) WITHOUT ROWID;
CREATE TABLE instance (id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE due (at INTEGER PRIMARY KEY);
{_VIEW.format(view="counters", kind="counter", columns="point.value AS increase")}
{_VIEW.format(view="gauges", kind="gauge", columns="point.value, point.lowest, point.highest, point.n AS samples")}
{_VIEW.format(view="histograms", kind="histogram", columns="point.n AS count, point.value AS sum")}
"""
SERIES = Schema((_TABLES,))


class MetricRow(NamedTuple):
    """
    A metric as a file has it.

    Attributes:
        kind: `counter`, `gauge` or `histogram`, or `grid` where these are a histogram's fine buckets.
        workers: How the gauges of several instances are put together.
        is_shared: Whether all instances of a machine read the same figure.
        bounds: Upper bounds of a histogram, without `+Inf`.
    """

    name: str
    kind: str
    unit: str
    workers: str
    is_shared: bool
    labels: tuple[str, ...]
    bounds: Bounds


# The kind of a histogram's fine buckets: they lie beside it, as if they were a metric.
GRID = "grid"


def metric_row(spec: Metric) -> MetricRow:
    """
    Return what a file says of a metric.
    """
    return MetricRow(spec.name, spec.kind, spec.unit, spec.workers, spec.is_shared, spec.labels, spec.buckets)


class Ids:
    """
    The ids of metrics and label sets in one open file. They are of no use after a transaction that was rolled back.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.metrics = {row: number for number, row in read_metrics(db).items()}
        by_number = {number: row for row, number in self.metrics.items()}
        self.label_sets = {
            (by_number[metric], tuple(json.loads(labels))): number
            for number, metric, labels in db.execute("SELECT id, metric, labels FROM label_set")
        }

    def of(self, metric: MetricRow, key: LabelSet, at: int) -> tuple[int, int]:
        """
        Return the ids of a metric and a label set, which are made where they are missing.

        Args:
            at: Since when it is known, where it is new.
        """
        number = self.metrics.get(metric) or self._add_metric(metric)
        found = self.label_sets.get((metric, key))
        if found is None:
            insert = "INSERT INTO label_set (metric, labels, first_at) VALUES (?, ?, ?)"
            found = self._db.execute(insert, (number, json.dumps(key), at)).lastrowid or 0
            self.label_sets[metric, key] = found
        return number, found

    def _add_metric(self, metric: MetricRow) -> int:
        columns = "name, kind, unit, workers, is_shared, label_names, bounds"
        insert = f"INSERT INTO metric ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)"
        labels, bounds = json.dumps(metric.labels), json.dumps(metric.bounds)
        row = (metric.name, metric.kind, metric.unit, metric.workers, metric.is_shared, labels, bounds)
        number = self.metrics[metric] = self._db.execute(insert, row).lastrowid or 0
        return number


def read_metrics(db: sqlite3.Connection) -> dict[int, MetricRow]:
    """
    Read the metrics of a file, by their ids.
    """
    asked = "SELECT id, name, kind, unit, workers, is_shared, label_names, bounds FROM metric"
    return {
        number: MetricRow(name, kind, unit, workers, bool(shared), tuple(json.loads(labels)), tuple(json.loads(bounds)))
        for number, name, kind, unit, workers, shared, labels, bounds in db.execute(asked)
    }
