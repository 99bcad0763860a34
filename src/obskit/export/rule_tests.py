"""
The unit tests of rules, as `promtool test rules` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TypeAlias

from obskit.catalogue import internal
from obskit.export.cases import UP, Case, States
from obskit.export.scenes import Piece, Scene
from obskit.export.yaml_text import Value
from obskit.signals.matching import quoted
from obskit.signals.page import Page
from obskit.signals.samples import LabelPairs
from obskit.signals.signal import number_text
from obskit.time.durations import duration_text

INSTANCE = "localhost:8000"
# By the label set that a signal has: the labels that its alert has.
LabelsOf: TypeAlias = Callable[[LabelPairs], Mapping[str, str]]


def input_series(scene: Scene, page: Page) -> list[Value]:
    """
    Return the series of a scene as a scrape of the page gives them; the heartbeat is always there.
    """
    target = {"job": page.service, "instance": INSTANCE}
    count = sum(scene.counts)
    always = {} if UP in scene.series else {UP.name: target}
    if page.has(internal.BUILD_INFO):
        always[page.name_of(internal.BUILD_INFO)] = target
    found: list[Value] = [
        {"series": series_text(name, labels), "values": _values([Piece(1.0, 0.0, count)], (count,))}
        for name, labels in always.items()
    ]
    for key, pieces in scene.series.items():
        labels = {page.label_of(key.metric, name): value for name, value in key.labels}
        name = page.name_of(key.metric) + key.suffix
        found.append({"series": series_text(name, {**target, **labels}), "values": _values(pieces, scene.counts)})
    return found


def series_text(name: str, labels: Mapping[str, str]) -> str:
    """
    Return a series as PromQL writes it.
    """
    return f"{name}{{{', '.join(f'{label}={quoted(labels[label])}' for label in sorted(labels))}}}"


def _values(pieces: Iterable[Piece | None], counts: Iterable[int]) -> str:
    each = list(zip(pieces, counts, strict=True))
    before = [None, *(piece for piece, _ in each)]
    return " ".join(
        chain.from_iterable(_piece(*pair, gone=was is not None) for pair, was in zip(each, before, strict=False))
    )


def _piece(piece: Piece | None, count: int, gone: bool) -> Iterator[str]:
    if count == 0:
        return
    if piece is None:
        yield f"stale _x{count - 1}" if gone and count > 1 else "stale" if gone else f"_x{count}"
        return
    sign = "-" if piece.step < 0 else "+"
    yield f"{number_text(piece.value)}{sign}{number_text(abs(piece.step))}x{count - 1}"


def unit_test(title: str, selector: str, case: Case, page: Page, labels_of: LabelsOf) -> Value:
    """
    Return one test.

    Args:
        title: What it is called in a report.
        selector: The alert's labels, as in `alertname="HighErrorRate"`.
        case: What happens.
        page: What the series are called.
        labels_of: The labels of the alert of a label set, all but its state.
    """
    return {
        "name": title,
        "interval": duration_text(case.scene.every_seconds),
        "input_series": input_series(case.scene, page),
        "promql_expr_test": [
            {
                "expr": f"ALERTS{{{selector}}}",
                "eval_time": duration_text(at),
                "exp_samples": _expected(states, labels_of),
            }
            for at, states in case.checks
        ],
    }


def _expected(states: States, labels_of: LabelsOf) -> Value:
    return [
        {"labels": series_text("ALERTS", {**labels_of(key), "alertstate": state}), "value": 1}
        for key, state in sorted(states.items())
    ]


def document_of_tests(rule_file: str, tests: list[Value], evaluation_seconds: float) -> dict[str, Value]:
    """
    Return the document of one file of tests.
    """
    return {"rule_files": [rule_file], "evaluation_interval": duration_text(evaluation_seconds), "tests": tests}
