"""
What an application puts into its metrics comes out of the page's parsers, whatever the names, the texts and the mode.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate
from tempfile import TemporaryDirectory
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.utils import floatToGoString

import obskit
from obskit.metrics import declare
from obskit.metrics.workers import Workers
from obskit.testing import isolated_runtime

FORMATS = {"text/plain": parse_text, "application/openmetrics-text; version=1.0.0": parse_openmetrics}
ASSERTED = re.compile(r"m\d")
# Quotes, ends of lines, what looks like syntax, what UTF-8 cannot say, and texts beyond the longest.
VALUES = st.one_of(
    st.sampled_from(
        ["", " ", '"', "\\", "\n", "\\n", '\\"', "\r\n", "%s", "{}", '",le="1"', "é", "日本", "\x00", "\ud800"]
    ),
    st.text(st.characters(exclude_categories=[]), max_size=12),
    st.integers(250, 3000).map("é".__mul__),
)
AMOUNTS = st.floats(0, 1e12)
FIGURES = st.floats(width=64).map((0.0).__add__)  # added up, -0 is 0


@dataclass
class Declared:
    """
    One metric, and what is put into it.
    """

    kind: str
    name: str
    help: str
    labels: list[str]
    buckets: list[float]
    updates: list[tuple[tuple[str, ...], float]] = field(default_factory=list)

    def declare(self):
        further = {"buckets": self.buckets} if self.kind == "histogram" else {}
        return getattr(obskit, self.kind)(self.name, self.help, self.labels, **further)

    def update(self, family):
        do = {"counter": "inc", "gauge": "set", "histogram": "observe"}[self.kind]
        for values, figure in self.updates:
            getattr(family, do)(figure, **dict(zip(self.labels, values, strict=True)))

    def samples(self, times):
        """
        Return what the page must show when so many workers were given the updates, of which one is alive.
        """
        found = defaultdict(list)
        if not self.labels:
            found[()] = []
        for values, figure in self.updates:
            found[tuple(map(shown, values))].append(figure)
        for values, figures in found.items():
            labels = dict(zip(self.labels, values, strict=True))
            if self.kind == "gauge":
                yield self.name, labels, figures[-1] if figures else 0.0
            elif self.kind == "counter":
                yield self.name + "_total", labels, times * total(figures)
            else:
                yield from self.buckets_of(labels, figures, times)

    def buckets_of(self, labels, figures, times):
        for bound in (*self.buckets, float("inf")):
            count = sum(figure <= bound for figure in figures)
            yield self.name + "_bucket", {**labels, "le": floatToGoString(bound)}, float(times * count)
        if self.buckets[0] >= 0:
            yield self.name + "_count", labels, float(times * len(figures))
            yield self.name + "_sum", labels, times * total(figures)


def shown(value):
    """
    Return how a label's value is shown: cut, and with question marks for what is no text.
    """
    return re.sub("[\ud800-\udfff]", "?", value[:256])


def total(figures):
    return [0.0, *accumulate(figures, initial=0.0)][-1]


@st.composite
def declarations(draw):
    """
    Draw up to four metrics of any type, each with up to six updates.
    """
    return [draw(declaration(number)) for number in range(draw(st.integers(1, 4)))]


@st.composite
def declaration(draw, number):
    kind = draw(st.sampled_from(["counter", "gauge", "histogram"]))
    names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in ("le", "self"))
    labels = draw(st.lists(names, max_size=3, unique=True))
    buckets, figures = [], {"counter": AMOUNTS, "gauge": FIGURES}.get(kind)
    if kind == "histogram":
        low = draw(st.sampled_from([0.0, -1e6]))
        bounds = st.lists(st.floats(low, 1e9).map(lambda bound: bound + 0.0), min_size=1, max_size=5, unique=True)
        buckets = sorted(draw(bounds))
        # OpenMetrics allows no negative sum, and where there are negative bounds no sum at all.
        figures = st.floats(low if buckets[0] < 0 else 0, 1e12) | st.sampled_from([*buckets, float("inf")])
    updates = draw(st.lists(st.tuples(st.tuples(*[VALUES] * len(labels)), figures), max_size=6))
    # The parsers take white space around a help text for none of it.
    help = draw(st.text(st.characters(codec="utf-8"), max_size=20).filter(lambda text: text == text.strip()))
    return Declared(kind, f"m{number}_{draw(st.sampled_from('abc'))}x", help, labels, buckets, updates)


def page(accept):
    environ, told = {"PATH_INFO": "/metrics", "HTTP_ACCEPT": accept}, []
    setup_testing_defaults(environ)
    app = obskit.instrument(lambda environ, start_response: [])
    text = b"".join(app(environ, lambda status, headers: told.append(status))).decode()
    assert ["200 OK"] == told
    return text


def parsed(text, parse):
    """
    Return types, help texts and samples of what the test declared; figures as text, since NaN is unlike itself.
    """
    families = [found for found in parse(text) if ASSERTED.match(found.name)]
    kinds = {found.name: (found.type, found.documentation) for found in families}
    samples = [(s.name, sorted(s.labels.items()), repr(s.value)) for found in families for s in found.samples]
    return kinds, sorted(samples)


@pytest.mark.parametrize("times", [1, 2], ids=["alone", "workers"])
@settings(max_examples=60, deadline=None)
@given(metrics=declarations())
def test_what_is_put_in_comes_out(times, metrics):
    """
    Each metric that is declared, with any label values, is read back from both formats as it was put in: alone, and
    where a worker that is gone was given the same.
    """
    before = dict(declare.declared)
    with TemporaryDirectory() as folder:
        try:
            with isolated_runtime(**({"metrics_dir": folder} if times == 2 else {})):
                for metric in metrics:
                    family = metric.declare()
                    metric.update(family)
                    if times == 2:
                        gone, workers = type(family)(family.spec), Workers("shop", folder)
                        gone.move_to(workers)
                        metric.update(gone)
                        workers.close()
                found = [parsed(page(accept), parse) for accept, parse in FORMATS.items()]
        finally:
            declare.declared.clear()
            declare.declared.update(before)

    kinds = {metric.name: (metric.kind, metric.help) for metric in metrics}
    samples = sorted(
        (name, sorted(labels.items()), repr(value))
        for metric in metrics
        for name, labels, value in metric.samples(times)
    )
    assert [(kinds, samples)] * 2 == found
