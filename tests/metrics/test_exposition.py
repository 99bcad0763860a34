"""
The metrics page: byte for byte what `prometheus_client` prints, from text that is written once.
"""

import gzip
import itertools
import math
import subprocess
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import servers
from obskit.metrics import exposition
from obskit.metrics.exposition import PIECE_BYTES, Section, negotiate, render_page
from obskit.metrics.family_renderer import FamilyRenderer
from obskit.recorder import recorder

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FORMATS = {"text": ("", generate_latest), "openmetrics": (OPENMETRICS, generate_openmetrics)}
PARSERS = {"text": parse_text, "openmetrics": parse_openmetrics}
BOUNDS = (0.005, 0.5, 1.0, 15.0, 2_500_000.0)
EDGES = ("0.005", "0.5", "1.0", "15.0", "2.5e+06", "+Inf")
TRACE = "0af7651916cd43dd8448eb211c80319c"
SMALL = (0, 1, -1, 0.0, -0.0, 0.5, 1e-9, 5e-324, 0.1 + 0.2, 123_456.0, 999_999, 999_999.9, -1e6, -1e15, -1e16, -2.5e17)
LARGE = (1e6, 1_234_567, 12_345_678.25, 1e15, 1e16, 1.5e17, 2**64, 10**300, math.inf, -math.inf, math.nan)
AWKWARD = (
    "",
    " ",
    '"',
    "\\",
    "\n",
    "\\n",
    "%",
    "%d.0",
    "%%",
    "{}",
    "}",
    ",",
    "=",
    "#",
    "é",
    "日本",
    "\U0001f980",
    "\x00",
    "a\r\nb",
)


@pytest.fixture
def recorded():
    """
    Yield the recorder with nothing counted yet, as it swallows and counts in production.
    """
    recorder.reset()
    yield recorder
    recorder.reset()


class Collector:
    """
    These families, whenever a registry asks.
    """

    def __init__(self, *metrics):
        self.metrics = metrics

    def describe(self):
        return self.metrics

    def collect(self):
        return self.metrics


def registry_of(*metrics):
    registry = CollectorRegistry()
    for metric in metrics:
        registry.register(Collector(metric))
    return registry


def body(*sections, accept="", **options):
    return b"".join(render_page(sections, accept=accept, **options)[1])


def rising(buckets):
    return [sum(buckets[: index + 1]) for index in range(len(buckets))]


def histogram(labels, cells, name="h_seconds", help="H.", bounds=BOUNDS):
    """
    Make the same histogram twice: theirs, and ours.
    """
    theirs = HistogramMetricFamily(name, help, labels=labels)
    edges = [*(str(bound) for bound in bounds), "+Inf"] if bounds != BOUNDS else EDGES
    for values, (_, total, *buckets) in cells:
        theirs.add_metric(values, list(zip(edges, rising(buckets), strict=True)), total)
    return theirs, Section(FamilyRenderer(name, "histogram", help, labels, bounds), cells)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("value", [*SMALL, *LARGE])
def test_figures(form, value):
    """
    Whatever the figure, each type prints it as `prometheus_client` does.
    """
    accept, theirs = FORMATS[form]
    families = CounterMetricFamily("c", "C."), GaugeMetricFamily("g", "G.")
    for family in families:
        family.add_metric([], value)
    ours = [
        Section(FamilyRenderer("c_total", "counter", "C."), [((), [value])]),
        Section(FamilyRenderer("g", "gauge", "G."), [((), [value])]),
    ]

    assert theirs(registry_of(*families)) == body(*ours, accept=accept)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("total", [0, 12.5, 1e-9, 999_999.5, 1e6, 3e18, -4.0, math.nan, math.inf, -math.inf])
def test_sums(form, total):
    """
    The sum of a histogram may be any figure.
    """
    accept, theirs = FORMATS[form]
    family, ours = histogram(["a"], [(("x",), [0, total, 1, 0, 3, 4, 1, 2])])

    assert theirs(registry_of(family)) == body(ours, accept=accept)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize(
    "largest", [0, 5, 999_990, 999_991, 10**6, 10**6 + 1, 10**7, 123_456_789, 2**53, 10**16 - 2, 10**16, 10**17]
)
def test_counts(form, kind, largest):
    """
    Buckets are added up, and counts from a million on take the exponent that others lack.
    """
    accept, theirs = FORMATS[form]
    buckets = [kind(number) for number in (1, 0, 3, 4, 1, largest)]
    family, ours = histogram(["path", "method"], [(("/", "GET"), [0, 12.5, *buckets])])

    assert theirs(registry_of(family)) == body(ours, accept=accept)


@pytest.mark.parametrize("form", FORMATS)
def test_a_count_that_passes_a_million(form):
    """
    A cell whose text is kept changes to the exponent when its count gets there, and back when it starts over.
    """
    accept, theirs = FORMATS[form]
    renderer = FamilyRenderer("h_seconds", "histogram", "H.", ["a"], BOUNDS)
    for count in (999_999, 1_000_000, 5, 2_000_001):
        cells = [(("x",), [0, 1.0, count, 0, 0, 0, 0, 0]), (("y",), [0, 1.0, 7, 0, 0, 0, 0, 0])]
        family, _ = histogram(["a"], cells)

        assert theirs(registry_of(family)) == body(Section(renderer, cells), accept=accept)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("bounds", [(-1.0, 0.0, 1.0), (0.0, 1.0), ()])
def test_bounds_below_zero(form, bounds):
    """
    A histogram of what may be negative has neither sum nor count; one without bounds has `+Inf` alone.
    """
    accept, theirs = FORMATS[form]
    family, ours = histogram(["a"], [(("x",), [0, 1.5, *range(len(bounds) + 1)])], bounds=bounds)

    assert theirs(registry_of(family)) == body(ours, accept=accept)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("value", AWKWARD)
def test_labels(form, value):
    """
    Quotes, line ends, backslashes and letters of any script are escaped as `prometheus_client` does, for all types.
    """
    accept, theirs = FORMATS[form]
    names, values = ("zone", "le_", "area"), (value, "plain", value + "x")
    family, ours = histogram(names, [(values, [0, 1.5, 1, 2, 3, 4, 5, 1_000_000]), (values[::-1], [0, 0.5] + [1] * 6)])
    gauge = GaugeMetricFamily("g", "G.", labels=names)
    gauge.add_metric(values, 1.5)
    gauge.add_metric(values[::-1], 2.5e7)
    cells = [(values, [1.5]), (values[::-1], [2.5e7])]
    sections = ours, Section(FamilyRenderer("g", "gauge", "G.", names), cells)

    assert theirs(registry_of(family, gauge)) == body(*sections, accept=accept)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("help", ["", "Plain.", "Two\nlines.", 'Quoted "so" and \\ so.', "日本", "100 %d"])
def test_help(form, help):
    """
    Help is escaped as each format wants it, also where a family has no cells.
    """
    accept, theirs = FORMATS[form]
    family, ours = histogram(["a"], [], help=help)
    counter = CounterMetricFamily("c", help, labels=["a"])

    assert theirs(registry_of(family, counter)) == body(
        ours, Section(FamilyRenderer("c_total", "counter", help, ["a"]), []), accept=accept
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["c", "c_total", "c_seconds_total"])
def test_names(form, name):
    """
    `_total` is written once, whether a counter's name has it or not.
    """
    accept, theirs = FORMATS[form]
    family = CounterMetricFamily(name, "C.")
    family.add_metric([], 3)
    section = Section(FamilyRenderer(name, "counter", "C."), [((), [3])])

    assert theirs(registry_of(family)) == body(section, accept=accept)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("where", ["help", "label", "trace"])
def test_what_utf8_cannot_say(form, where):
    """
    A lone surrogate is a question mark on the page.
    """
    accept, _ = FORMATS[form]
    odd = "a\udc80é"
    renderer = FamilyRenderer("c_total", "counter", odd if where == "help" else "C.", ["a"])
    labels = (odd if where == "label" else "x",)
    exemplars = {labels: {0: (odd if where == "trace" else TRACE, 1.0, 2.0)}}
    text = body(Section(renderer, [(labels, [1.0])], exemplars), accept=accept).decode()

    assert ("a?é" in text) == (where != "trace" or form == "openmetrics")
    assert ["c"] == [family.name for family in PARSERS[form](text)]


sayable = st.text(max_size=12) | st.sampled_from(AWKWARD)
figures = st.floats() | st.integers(-(10**18), 10**18)
sums = st.floats(0, 1e18)  # OpenMetrics knows no others where the bounds are positive
cells = st.dictionaries(
    st.tuples(sayable, sayable),
    st.tuples(figures, sums, st.lists(st.integers(0, 10**7), min_size=6, max_size=6)),
    max_size=5,
)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=150, deadline=None)
@given(cells)
def test_random_labels_come_back(form, given):
    """
    What is rendered, whatever the labels, is what the parser of the format reads back.
    """
    accept, theirs = FORMATS[form]
    names = ("b", "a")
    counts = [(labels, [0, total, *buckets]) for labels, (_, total, buckets) in given.items()]
    values = [(labels, [value]) for labels, (value, *_) in given.items()]
    sections = (
        Section(FamilyRenderer("h_seconds", "histogram", "H.", names, BOUNDS), counts),
        Section(FamilyRenderer("g", "gauge", "G.", names), values),
    )
    text = body(*sections, accept=accept)
    read = {"h_seconds": {}, "g": {}}
    for family in PARSERS[form](text.decode()):
        for sample in family.samples:
            key = tuple(sample.labels.pop(name) for name in names)
            read[family.name].setdefault(key, []).append((sample.name, sample.labels, sample.value))

    assert theirs(Collector(*(section.metric() for section in sections))) == text
    assert given.keys() == read["h_seconds"].keys() == read["g"].keys()
    for labels, (value, total, buckets) in given.items():
        counted = rising(buckets)
        wanted = [("h_seconds_bucket", {"le": edge}, count) for edge, count in zip(EDGES, counted, strict=True)]
        wanted += [("h_seconds_count", {}, counted[-1]), ("h_seconds_sum", {}, total)]
        assert repr([*map(canonical, wanted)]) == repr([*map(canonical, read["h_seconds"][labels])])
        assert repr([canonical(("g", {}, value))]) == repr([*map(canonical, read["g"][labels])])


def canonical(sample):
    name, labels, value = sample
    return name, {label: float(edge) for label, edge in labels.items()}, float(value)


def everything():
    """
    Make a page with every type, a family without cells, and more than one piece of text, twice: theirs, and ours.
    """
    names = ("method", "endpoint")
    counts = [(("GET", f"/things/{number}"), [0, 0.1 * number, number, 0, 3, 4, 1, 2]) for number in range(300)]
    family, ours = histogram(names, counts)
    empty, none = histogram(names, [], name="empty_seconds")
    counter = CounterMetricFamily("requests", "R.", labels=names)
    gauge = GaugeMetricFamily("temperature_celsius", "T.", labels=names)
    for number, (labels, _) in enumerate(counts):
        counter.add_metric(labels, number)
        gauge.add_metric(labels, number / 7)
    values = [(labels, [number]) for number, (labels, _) in enumerate(counts)]
    sections = (
        ours,
        none,
        Section(FamilyRenderer("requests_total", "counter", "R.", names), values),
        Section(FamilyRenderer("temperature_celsius", "gauge", "T.", names), [(key, [n / 7]) for key, [n] in values]),
    )
    return registry_of(family, empty, counter, gauge), sections


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "names",
    [
        ["h_seconds_bucket"],
        ["h_seconds_sum", "h_seconds_count"],
        ["requests_total", "h_seconds_count"],
        ["temperature_celsius"],
        ["no_such_thing"],
        ["empty_seconds_bucket"],
    ],
)
def test_single_samples(form, names):
    """
    `name[]` takes samples by their names, as `prometheus_client`'s own page does.
    """
    accept, theirs = FORMATS[form]
    registry, sections = everything()
    wanted = sorted(theirs(registry.restricted_registry(names)).split(b"\n"))

    assert wanted == sorted(body(*sections, accept=accept, names=names).split(b"\n"))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["requests", "h_seconds"])
def test_single_families(form, name):
    """
    `name[]` takes a family by its name too, with all of its samples.
    """
    accept, _ = FORMATS[form]
    _, sections = everything()
    [family] = PARSERS[form](body(*sections, accept=accept, names=[name]).decode())

    assert (name, 300 * (8 if name == "h_seconds" else 1)) == (family.name, len(family.samples))


@pytest.mark.parametrize("form", FORMATS)
def test_pieces(form):
    """
    A page comes in pieces of about 64 KiB, and together they are what `prometheus_client` prints.
    """
    accept, theirs = FORMATS[form]
    registry, sections = everything()
    pieces = list(render_page(sections, accept=accept)[1])

    assert theirs(registry) == b"".join(pieces)
    assert len(pieces) > 3
    assert max(map(len, pieces)) < 1.5 * PIECE_BYTES


@pytest.mark.parametrize("form", FORMATS)
def test_gzip(form):
    """
    A packed page is the same page, and says so; it is packed piece by piece.
    """
    accept, theirs = FORMATS[form]
    registry, sections = everything()
    headers, pieces = render_page(sections, accept=accept, packed=True)
    packed = list(pieces)

    assert [("Content-Type", choose_encoder(accept)[1]), ("Content-Encoding", "gzip")] == headers
    assert theirs(registry) == gzip.decompress(b"".join(packed))
    assert len(packed) > 1


def test_text_is_written_once():
    """
    A cell's text is kept from page to page, and shared by both formats.
    """
    renderer = FamilyRenderer("h_seconds", "histogram", "H.", ["a"], BOUNDS)
    cells = [((str(number),), [0, 1.0, 1, 0, 0, 0, 0, 0]) for number in range(3)]
    body(Section(renderer, cells))
    before = dict(renderer._cell_templates)
    body(Section(renderer, cells), accept=OPENMETRICS)

    assert 3 == len(before)
    assert [id(text) for text in before.values()] == [id(text) for text in renderer._cell_templates.values()]


def test_text_of_vanished_label_sets_is_not_kept():
    """
    What is not on a page any more leaves no text behind; a page of other families alone changes nothing.
    """
    renderer = FamilyRenderer("c_total", "counter", "C.", ["a"])
    for kept in (("a", "b", "c"), ("b", "d"), ()):
        body(Section(renderer, [((value,), [1.0]) for value in kept]))

        assert {(value,) for value in kept} == renderer._cell_templates.keys()
    body(Section(renderer, [(("e",), [1.0])]))
    body(Section(renderer, []), names=["another"])

    assert {("e",)} == renderer._cell_templates.keys()


def test_two_pages_at_once():
    """
    Pages that are written at the same time, of other label sets, do not disturb each other.
    """
    renderer = FamilyRenderer("c_total", "counter", "C.", ["a"])
    many = [((str(number),), [1.0]) for number in range(5000)]
    expected = body(Section(renderer, many))
    slow = render_page([Section(renderer, many)])[1]
    begun = next(slow)
    body(Section(renderer, [(("other",), [1.0])]))

    assert expected == begun + b"".join(slow)
    assert dict(many).keys() == renderer._cell_templates.keys()


def test_a_page_rests(monkeypatch):
    """
    After each millisecond of work the thread sleeps a moment, so that others need not wait for their turn.
    """
    moments, rests = itertools.count(step=0.0006), []
    monkeypatch.setattr(exposition, "system_clock", SimpleNamespace(monotonic=lambda: next(moments)))
    monkeypatch.setattr(exposition, "rest", rests.append)
    _, sections = everything()
    pieces = list(render_page(sections)[1])

    assert len(pieces) // 2 == len(rests)
    assert 0 < min(rests)


EXEMPLARS = {("x",): {0: (TRACE, 0.004, 1_700_000_000.125), 5: (TRACE[::-1], 99.0, 1_700_000_001)}, ("z",): {}}


@pytest.mark.parametrize(("form", "shown"), [("text", False), ("openmetrics", True)])
def test_exemplars_of_buckets(form, shown):
    """
    OpenMetrics shows a bucket's exemplar as `prometheus_client` does, and its parser reads it; the text format cannot.
    """
    accept, theirs = FORMATS[form]
    cells = [(("x",), [0, 100.0, 1, 0, 0, 0, 0, 1]), (("y",), [0, 0.0, 0, 0, 0, 0, 0, 0])]
    section = Section(FamilyRenderer("h_seconds", "histogram", "H.", ["a"], BOUNDS), cells, EXEMPLARS)
    family = HistogramMetricFamily("h_seconds", "H.", labels=["a"])
    told = [Exemplar({"trace_id": trace}, value, at) for trace, value, at in EXEMPLARS["x",].values()]
    edges = [*zip(EDGES, (1, 1, 1, 1, 1, 2), strict=True)]
    family.add_metric(["x"], [(*edges[0], told[0]), *edges[1:5], (*edges[5], told[1])], 100.0)
    family.add_metric(["y"], [(edge, 0) for edge in EDGES], 0.0)
    text = body(section, accept=accept)
    [read] = PARSERS[form](text.decode())

    assert theirs(registry_of(family)) == text == theirs(registry_of(section.metric()))
    assert (told if shown else []) == exemplars_of(read)


def exemplars_of(family):
    told = [sample.exemplar for sample in family.samples if sample.exemplar]
    return [exemplar._replace(timestamp=float(exemplar.timestamp)) for exemplar in told]


def test_exemplars_of_counters():
    """
    OpenMetrics shows a counter's exemplar too.
    """
    cells = [(("x",), [3.0]), (("y",), [1.0])]
    section = Section(FamilyRenderer("c_total", "counter", "C.", ["a"]), cells, {("x",): {0: (TRACE, 1.0, 2.5)}})
    [family] = parse_openmetrics(body(section, accept=OPENMETRICS).decode())

    assert [Exemplar({"trace_id": TRACE}, 1.0, 2.5)] == exemplars_of(family)


@pytest.mark.parametrize("value", AWKWARD)
def test_exemplars_are_escaped(value):
    """
    Whatever the trace id, it is written as `prometheus_client` writes it.
    """
    cells = [((), [0, 1.0, 1, 0, 0, 0, 0, 0])]
    section = Section(FamilyRenderer("h_seconds", "histogram", "H.", (), BOUNDS), cells, {(): {0: (value, 0.1, 2.5)}})

    assert generate_openmetrics(registry_of(section.metric())) == body(section, accept=OPENMETRICS)


@pytest.mark.parametrize(("length", "shown"), [(120, 1), (121, 0)])
def test_exemplars_have_a_length(length, shown):
    """
    A trace id that makes the label set longer than OpenMetrics' 128 characters is left out, and its line is not.
    """
    cells = [((), [0, 1.0, 1, 0, 0, 0, 0, 0])]
    section = Section(
        FamilyRenderer("h_seconds", "histogram", "H.", (), BOUNDS), cells, {(): {0: ("é" * length, 0.1, 2.5)}}
    )
    [family] = parse_openmetrics(body(section, accept=OPENMETRICS).decode())

    assert (8, shown) == (len(family.samples), sum(sample.exemplar is not None for sample in family.samples))


def test_exemplars_of_gauges_are_not_shown():
    """
    OpenMetrics has none there.
    """
    section = Section(FamilyRenderer("g", "gauge", "G.", ["a"]), [(("x",), [3.0])], EXEMPLARS)

    assert b"trace_id" not in body(section, accept=OPENMETRICS)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        "text/plain",
        "text/plain;version=0.0.4",
        "text/plain; version=1.0.0",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
        "application/openmetrics-text",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        "application/openmetrics-text;version=1.0.0;escaping=underscores",
        "application/openmetrics-text;version=1.0.0;escaping=dots",
        "application/openmetrics-text;version=1.0.0;escaping=values",
        "application/openmetrics-text;version=1.0.0;escaping=unheard-of",
        "application/openmetrics-text;version=2.0.0",
        "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0",
        # Prometheus 2 and 3.
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
        "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        "text/plain;version=1.0.0;escaping=dots;q=0.5,text/plain;version=0.0.4;q=0.2",
    ],
)
def test_negotiation(accept):
    """
    Whoever asks gets the content type, and the text, that `prometheus_client` answers with.
    """
    registry, sections = everything()
    encode, content_type = choose_encoder(accept)
    headers, pieces = render_page(sections, accept=accept)

    assert [("Content-Type", content_type)] == headers
    assert encode(registry) == b"".join(pieces)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("text/plain;q=0.9,application/openmetrics-text;version=1.0.0;q=0.1", False),
        ("application/openmetrics-text;version=1.0.0;q=0.1,text/plain;q=0.9", False),
        ("application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.8", False),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        ("application/openmetrics-text;version=1.0.0; Q = 0.000,*/*", False),
        ("text/html,application/openmetrics-text;version=1.0.0;q=0.1", True),
        ("text/plain;q=0.2,application/openmetrics-text;q=0.3", True),
        ("application/openmetrics-text;q=0.1.2", False),
        ("application/openmetrics-text;version=one", False),
        ('application/openmetrics-text;version="1.0.0"', False),
        ("application/openmetrics-text;version=2.\x01", False),
        ("application/openmetrics-text;version=2.é", False),
        ("application/openmetrics-text;version=one;q=0.9,application/openmetrics-text;version=1.0.0;q=0.8", True),
    ],
)
def test_qualities(accept, openmetrics):
    """
    What a client likes less is not what it gets, and what makes no sense is passed over.
    """
    assert openmetrics == negotiate(accept).openmetrics


@pytest.mark.parametrize("escaping", ["allow-utf-8", "underscores", "dots", "values"])
@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
@pytest.mark.parametrize("name", ["job:h_seconds", "h.seconds", "h_seconds"])
def test_escaped_names(kind, escaping, name):
    """
    Names that were not always valid are escaped as the client asks, and as `prometheus_client` does it.
    """
    accept = f"{kind};version=1.0.0;escaping={escaping}"
    family, ours = histogram(["a.b", "__c"], [(("x", "y"), [0, 1.5, 1, 2, 3, 4, 5, 6])], name=name)
    marked = Section(ours.renderer, ours.cells, {("x", "y"): {0: (TRACE, 0.1, 2.5)}})
    encode, _ = choose_encoder(accept)

    assert encode(registry_of(family)) == body(ours, accept=accept)
    assert (b"trace_id" in body(marked, accept=accept)) == (kind != "text/plain")


def test_a_family_that_fails_costs_itself_alone(recorded):
    """
    Figures that cannot be read or written end their family, and are counted; the page goes on.
    """

    def failing():
        yield ("x",), [1.0]
        raise OSError("no file")

    sections = [
        Section(FamilyRenderer("first", "gauge", "F.", ["a"]), failing()),
        Section(FamilyRenderer("second", "gauge", "S.", ["a"]), [(("x",), ["no number"])]),
        Section(FamilyRenderer("third", "gauge", "T.", ["a"]), [(("x",), [3.0])]),
    ]
    text = body(*sections, accept=OPENMETRICS).decode()

    assert 2 == recorded.errors["metrics_page"]
    assert [("third", 3.0)] == [(s.name, s.value) for family in parse_openmetrics(text) for s in family.samples]


def foreign_families():
    """
    Make families of every type that is not ours, with timestamps, created series and an exemplar.
    """
    for number in (1, 199, 200, 201, 450):
        many = CounterMetricFamily(f"many_{number}", "M.", labels=["n"])
        for index in range(number):
            exemplar = Exemplar({"trace_id": TRACE}, 1.0, 2.5) if index == 7 else None
            many.add_metric([str(index)], index, created=1_700_000_000.5, exemplar=exemplar)
        yield many
    gauge_histogram = Metric("sizes", "S.", "gaugehistogram")
    for index in range(150):
        gauge_histogram.add_sample("sizes_bucket", {"n": str(index), "le": "+Inf"}, index, 5.0)
        gauge_histogram.add_sample("sizes_gcount", {"n": str(index)}, index)
        gauge_histogram.add_sample("sizes_gsum", {"n": str(index)}, index)
    yield gauge_histogram
    yield SummaryMetricFamily("waits", "W.", 3, 1.5, unit="seconds")
    yield InfoMetricFamily("build", "B.", {"version": "1"})
    yield GaugeMetricFamily("nothing", "N.", labels=["n"])
    yield GaugeMetricFamily("dotted.name", "N.", 1.0)


@pytest.mark.parametrize("accept", ["", OPENMETRICS, "text/plain;version=1.0.0;escaping=allow-utf-8"])
def test_other_families(accept):
    """
    What others made stands behind obskit's own families as `prometheus_client` writes it, however large it is.
    """
    encode, _ = choose_encoder(accept)
    registry, sections = everything()
    others = list(foreign_families())
    for metric in others:
        registry.register(Collector(metric))
    pieces = list(render_page(sections, others, accept=accept)[1])

    assert encode(registry) == b"".join(pieces)
    assert max(map(len, pieces)) < 1.5 * PIECE_BYTES


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        (GaugeMetricFamily("requests", "Another.", 1.0), False),
        (GaugeMetricFamily("requests_total", "Another.", 1.0), False),
        (CounterMetricFamily("requests", "Another.", 1.0), False),
        (CounterMetricFamily("temperature_celsius", "Another.", 1.0), False),
        (GaugeMetricFamily("h_seconds_sum", "Another.", 1.0), False),
        (GaugeMetricFamily("requests_per_second", "Another.", 1.0), True),
    ],
)
def test_an_own_name_wins(recorded, other, shown):
    """
    A family of another that has one of our names is left out, and counted; none is on the page twice.
    """
    _, sections = everything()
    text = body(*sections, others=[other], accept=OPENMETRICS)

    assert shown == (b"Another." in text)
    assert int(not shown) == recorded.dropped["metrics_page", "duplicate"]


def test_a_family_is_not_on_the_page_twice(recorded):
    """
    Of two families of one name that others made, the first is shown, and the other one counted.
    """
    others = [GaugeMetricFamily("twins", "First.", 1.0), GaugeMetricFamily("twins", "Second.", 2.0)]

    assert b"# HELP twins First.\n# TYPE twins gauge\ntwins 1.0\n" == body(others=others)
    assert {("metrics_page", "duplicate"): 1} == recorded.dropped


def test_a_figure_of_others_that_is_none(recorded):
    """
    A family that `prometheus_client` cannot write is counted, and the page goes on.
    """
    others = [GaugeMetricFamily("broken", "B.", "no number"), GaugeMetricFamily("whole", "W.", 1.0)]
    text = body(others=others, accept=OPENMETRICS).decode()

    assert 1 == recorded.errors["metrics_page"]
    assert {"whole": 1.0} == {s.name: s.value for family in parse_openmetrics(text) for s in family.samples}


def complaints_of_the_parser(text):
    """
    Read the page as `prometheus_client` does; each sample must be of a family that has help and type.
    """
    return [found.name for found in parse_text(text.decode()) if found.type == "unknown" or not found.documentation]


def complaints_of_promtool(promtool, text):
    """
    Have Prometheus' own tool check the page.
    """
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=60)
    said = (checked.stdout + checked.stderr).decode().splitlines()
    return said + ([f"it ended with {checked.returncode}"] if checked.returncode else [])


CHECKERS = {
    "the parser": complaints_of_the_parser,
    **{servers.folder_of(path): partial(complaints_of_promtool, path) for path in servers.found("promtool")},
}


@pytest.mark.parametrize("complaints", CHECKERS.values(), ids=CHECKERS)
def test_no_checker_has_a_complaint(complaints):
    """
    Neither the parser nor Prometheus' own tool, where that is installed, finds fault with a page of every type.
    """
    _, sections = everything()
    odd = Section(FamilyRenderer("oddities", "gauge", "Odd.", ["a"]), [((value,), [1e-9]) for value in AWKWARD])

    assert [] == complaints(body(*sections, odd))
