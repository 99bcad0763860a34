"""
Write the metrics page: obskit's own families fast, and what else there is as `prometheus_client` writes it.

The text is what `prometheus_client` would print for the same families. What makes it cheap: names and labels of a
cell are written once, as a template that one `%` fills with the figures, and kept until the label set is gone. The
page comes in pieces, with a rest between them, so that a thread that renders never keeps another one waiting long.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from time import perf_counter, sleep
from types import MappingProxyType
from typing import Any, TypeAlias

from prometheus_client.core import Exemplar as _Exemplar
from prometheus_client.core import Metric, Sample
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from obskit.catalogue.spec import Kind
from obskit.recorder import recorder

Labels: TypeAlias = tuple[str, ...]
# Counter, gauge: (value,). Histogram: (unused, sum, bucket, bucket, ...), not cumulative, the last `+Inf`.
Figures: TypeAlias = Sequence[float]
# Trace id, observed value, seconds since the epoch.
Exemplar: TypeAlias = tuple[str, float, float]
# By the index of the bucket; a counter's is 0.
Exemplars: TypeAlias = Mapping[int, Exemplar]

PIECE_BYTES = 64 * 1024
_BLOCK_BYTES = 16 * 1024
_BATCH = 200  # samples that prometheus_client encodes in about a millisecond
# What prometheus_client's names are escaped to only if somebody asks for it, or the name is none that was always valid.
_plain_name = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_plain_label = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_EXEMPLAR_CHARACTERS = 128  # OpenMetrics 1.0.0, "Exemplars": names and values of the labels together
_EOF = b"# EOF\n"
_NONE: Mapping[Any, Any] = MappingProxyType({})
_go: Callable[[float], str] = floatToGoString
# Between these Python writes a figure as prometheus_client does; so it does much further below zero, but why ask.
_FAR_BELOW, _MILLION = -1e15, 1_000_000
_EXPONENTS = tuple(b"e+%02d" % power for power in range(16))  # from 1e16 on Python writes them itself
_WORK_SECONDS, _REST_SECONDS = 0.001, 0.00005
# What a family of each type may be called besides its name.
SUFFIXES = {
    "counter": ("_total", "_created"),
    "summary": ("_sum", "_count", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "info": ("_info",),
}


class Layout:
    """
    Know how a family is written, and keep the text of its cells. Make it once and keep it as long as the family.

    Attributes:
        name: The name on the page; a counter's ends in `_total`, which is added where it is missing.
        kind: `counter`, `gauge` or `histogram`.
        help: Shown in the `HELP` line.
        labels: Names of the labels, in the order of the cells' values; the page has them sorted.
        bounds: A histogram's upper bounds without `+Inf`. Below zero it shows no sum and no count.
    """

    __slots__ = ("_order", "_shapes", "_texts", "bounds", "family", "help", "kind", "labels", "name", "plain")

    def __init__(
        self,
        name: str,
        kind: Kind,
        help: str = "",
        labels: Iterable[str] = (),
        bounds: Iterable[float] = (),
    ) -> None:
        self.family = name.removesuffix("_total") if kind == "counter" else name
        self.name = self.family + "_total" if kind == "counter" else self.family
        self.kind, self.help = kind, _sayable(help)
        self.labels, self.bounds = tuple(labels), tuple(bounds)
        self.plain = bool(_plain_name(self.family)) and all(map(_plain_label, self.labels))
        self._order = sorted(range(len(self.labels)), key=self.labels.__getitem__)
        self._shapes: dict[bool, tuple[bytes, int]] = {}
        self._texts: dict[Labels, tuple[bytes, bool]] = {}

    def head(self, openmetrics: bool) -> bytes:
        """
        Write the lines in front of the samples.
        """
        name = self.family if openmetrics else self.name
        help_text = _escaped(self.help) if openmetrics else self.help.replace("\\", r"\\").replace("\n", r"\n")
        return f"# HELP {name} {help_text}\n# TYPE {name} {self.kind}\n".encode()

    def lines(
        self, cells: Iterable[tuple[Labels, Figures]], exemplars: Mapping[Labels, Exemplars] = _NONE
    ) -> Iterator[bytes]:
        """
        Write the samples, some cells at a time. Afterwards the text of these cells is kept, and no other.
        """
        fresh: dict[Labels, tuple[bytes, bool]] = {}
        yield from (self._histograms if self.kind == "histogram" else self._values)(cells, exemplars, fresh)
        self._texts = fresh

    # The two loops are written out, since each line of the page pays for them.
    def _values(
        self,
        cells: Iterable[tuple[Labels, Figures]],
        exemplars: Mapping[Labels, Exemplars],
        fresh: dict[Labels, tuple[bytes, bool]],
    ) -> Iterator[bytes]:
        kept, lines, size = self._texts, list[bytes](), 0
        for labels, (given,) in cells:
            text = fresh[labels] = kept.get(labels) or (self._text(labels), False)
            value = float(given)
            line = text[0] % (repr(value).encode() if _FAR_BELOW < value < _MILLION else _number(value))
            if exemplars and labels in exemplars:
                line = _marked(line, exemplars[labels])
            lines.append(line)
            size += len(line)
            if size >= _BLOCK_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
        yield b"".join(lines)

    def _histograms(
        self,
        cells: Iterable[tuple[Labels, Figures]],
        exemplars: Mapping[Labels, Exemplars],
        fresh: dict[Labels, tuple[bytes, bool]],
    ) -> Iterator[bytes]:
        kept, blocks, size = self._texts, list[bytes](), 0
        for labels, figures in cells:
            counts = [*accumulate(figures[2:])]
            counts.append(counts[-1])
            large = counts[-1] >= _MILLION
            text = kept.get(labels)
            if text is None or text[1] is not large:
                text = self._text(labels, large), large
            fresh[labels] = text
            figure = _number(figures[1])
            block = text[0] % ((*map(_count, counts), figure) if large else (*counts, figure))
            if exemplars and labels in exemplars:
                block = _marked(block, exemplars[labels])
            blocks.append(block)
            size += len(block)
            if size >= _BLOCK_BYTES:
                yield b"".join(blocks)
                blocks, size = [], 0
        yield b"".join(blocks)

    def _text(self, labels: Labels, large: bool = False) -> bytes:
        """
        Write a cell's text: the family's, with the label values in their places.
        """
        if large not in self._shapes:
            self._shapes[large] = self._shape(b"%%b" if large else b"%%d.0")
        shape, lines = self._shapes[large]
        values = [_sayable(_escaped(labels[index])).encode().replace(b"%", b"%%") for index in self._order]
        return shape % (*values * lines,)

    def _shape(self, count: bytes) -> tuple[bytes, int]:
        """
        Write a family's text, with places for label values and, behind two signs, for figures; count its lines.
        """
        if self.kind != "histogram":
            return self._sample(self.name, b"%%b"), 1
        edges = [_go(bound) for bound in (*self.bounds, math.inf)]
        lines = [self._sample(self.name + "_bucket", count, edge) for edge in edges]
        if self.bounds and self.bounds[0] < 0:
            return b"".join(lines) + b"%%.0a%%.0a", len(lines)  # which swallow what is not shown
        lines += [self._sample(self.name + "_count", count), self._sample(self.name + "_sum", b"%%b")]
        return b"".join(lines), len(lines)

    def _sample(self, name: str, figure: bytes, edge: str | None = None) -> bytes:
        pairs = dict.fromkeys(self.labels, "%b") | ({} if edge is None else {"le": edge})
        inside = ",".join([f'{label}="{value}"' for label, value in sorted(pairs.items())])
        return (f"{name}{{{inside}}}" if inside else name).encode() + b" " + figure + b"\n"

    def samples(self, labels: Labels, figures: Figures, exemplars: Exemplars) -> Iterator[Sample]:
        """
        Give one cell as `prometheus_client`'s samples.
        """
        named = {label: _sayable(value) for label, value in zip(self.labels, labels, strict=True)}
        if self.kind != "histogram":
            yield Sample(self.name, named, figures[0], None, _theirs(exemplars.get(0)))
            return
        counts = [*accumulate(figures[2:])]
        for index, (bound, count) in enumerate(zip((*self.bounds, math.inf), counts, strict=True)):
            edge = {"le": _go(bound)}
            yield Sample(self.name + "_bucket", named | edge, count, None, _theirs(exemplars.get(index)))
        if not self.bounds or self.bounds[0] >= 0:
            yield Sample(self.name + "_count", named, counts[-1])
            yield Sample(self.name + "_sum", named, figures[1])


@dataclass(slots=True)
class Section:
    """
    Hold one family's figures for one page.

    Attributes:
        layout: How the family is written.
        cells: Label values and figures of each cell; read once, piece by piece. Make them as they are asked for: where
            all of a large family's live together, they set off the garbage collector, and every thread waits for it.
        exemplars: Of some cells, by label values; shown by OpenMetrics on counters and on buckets.
    """

    layout: Layout
    cells: Iterable[tuple[Labels, Figures]]
    exemplars: Mapping[Labels, Exemplars] = field(default_factory=dict)

    def metric(self) -> Metric:
        """
        Give the family as `prometheus_client` has it, for a collector.
        """
        layout = self.layout
        metric = Metric(layout.family, layout.help, layout.kind)
        for labels, figures in self.cells:
            metric.samples.extend(layout.samples(labels, figures, self.exemplars.get(labels, {})))
        return metric


@dataclass(frozen=True, slots=True)
class Format:
    """
    Hold what was agreed on with whoever asks for the page.

    Attributes:
        content_type: As `prometheus_client` says it.
        openmetrics: Whether it is OpenMetrics, or the text format.
        plain: Whether names that were always valid stay as they are.
        encode: `prometheus_client`'s encoder for it.
    """

    content_type: str
    openmetrics: bool
    plain: bool
    encode: Callable[[Any], bytes]


def negotiate(accept: str) -> Format:
    """
    Choose the format: what the client likes best, by `prometheus_client`'s rules where it likes several equally.
    """
    offers = sorted(map(_offer, accept.split(",")), reverse=True, key=lambda offer: offer[0])
    for quality, group in groupby(offers, key=lambda offer: offer[0]):
        kinds = [part for _, part in group]
        if quality > 0 and (chosen := _chosen(kinds)):
            return chosen
    return _format("")


def _offer(part: str) -> tuple[float, str]:
    quality = re.search(r";\s*q\s*=\s*([0-9.]+)", part, re.IGNORECASE)
    try:
        return (float(quality[1]) if quality else 1.0), part
    except ValueError:
        return 0.0, part


def _chosen(parts: list[str]) -> Format | None:
    default = _format("")
    try:
        chosen = _format(",".join(parts))
    except Exception:  # prometheus_client compares a version that is no number with one that is
        chosen = default
    if not (chosen.content_type.isascii() and chosen.content_type.isprintable()):
        chosen = default  # it repeats the version that was asked for, and this goes into a header
    media = {part.partition(";")[0].strip() for part in parts}
    if chosen.content_type == default.content_type and media.isdisjoint(("text/plain", "text/*", "*/*")):
        return None
    return chosen


def _format(accept: str) -> Format:
    encode, content_type = choose_encoder(accept)
    escaping = content_type.partition("escaping=")[2] or "underscores"
    openmetrics = content_type.startswith("application/openmetrics-text")
    return Format(content_type, openmetrics, escaping in ("underscores", "allow-utf-8"), encode)


def page(
    sections: Iterable[Section],
    others: Iterable[Metric] = (),
    *,
    accept: str = "",
    names: Collection[str] | None = None,
    packed: bool = False,
) -> tuple[list[tuple[str, str]], Iterator[bytes]]:
    """
    Give the headers of a page, and its body piece by piece; between pieces the thread lets others run.

    Args:
        sections: obskit's own families, in the page's order.
        others: What else there is, see `foreign()`; a family whose names an own one has is dropped, and counted.
        accept: The client's `Accept` header.
        names: `name[]`, names of samples or families; None is all.
        packed: Whether the body is packed with gzip.
    """
    form = negotiate(accept)
    headers, body = [("Content-Type", form.content_type)], _rested(_body(sections, others, form, names))
    if not packed:
        return headers, body
    return [*headers, ("Content-Encoding", "gzip")], _packed(body)


def _body(
    sections: Iterable[Section], others: Iterable[Metric], form: Format, names: Collection[str] | None
) -> Iterator[bytes]:
    taken: set[str] = set()
    yield from render(_noted(sections, taken), form, names)
    for metric in others:
        claimed = {metric.name, *(metric.name + suffix for suffix in SUFFIXES.get(metric.type, ()))}
        if not taken.isdisjoint(claimed):
            recorder.dropped.inc(("metrics_page", "duplicate"))
            continue
        taken |= claimed
        try:
            yield from _encoded(metric, form)
        except Exception as error:  # a figure that is none
            recorder.failed("metrics_page", error)
    if form.openmetrics:
        yield _EOF


def _noted(sections: Iterable[Section], taken: set[str]) -> Iterator[Section]:
    for section in sections:
        layout = section.layout
        taken.update((layout.family, *(layout.family + suffix for suffix in SUFFIXES.get(layout.kind, ()))))
        yield section


def render(sections: Iterable[Section], form: Format, names: Collection[str] | None = None) -> Iterator[bytes]:
    """
    Write own families, in pieces of about 64 KiB and without OpenMetrics' last line.

    A family that cannot be written ends where it fails, and is counted.
    """
    blocks: list[bytes] = []
    size = 0
    for section in sections:
        try:
            for block in _blocks(section, form, names):
                blocks.append(block)
                size += len(block)
                if size >= PIECE_BYTES:
                    yield b"".join(blocks)
                    blocks, size = [], 0
        except Exception as error:
            recorder.failed("metrics_page", error)
    yield b"".join(blocks)


def _blocks(section: Section, form: Format, names: Collection[str] | None) -> Iterator[bytes]:
    layout = section.layout
    if names is not None and layout.family not in names and layout.name not in names:
        yield from _selected(section, form, names)
    elif not (layout.plain and form.plain):
        yield from _encoded(section.metric(), form)
    else:
        yield layout.head(form.openmetrics)
        marks = form.openmetrics and layout.kind in ("counter", "histogram")
        yield from layout.lines(section.cells, section.exemplars if marks else _NONE)


def _selected(section: Section, form: Format, names: Collection[str]) -> Iterator[bytes]:
    """
    Write single samples of a histogram, through `prometheus_client`: nobody asks for many.
    """
    layout = section.layout
    if layout.kind == "histogram" and any(layout.name + suffix in names for suffix in ("_bucket", "_sum", "_count")):
        metric = section.metric()
        metric.samples = [sample for sample in metric.samples if sample.name in names]
        if metric.samples:
            yield from _encoded(metric, form)


def _marked(text: bytes, exemplars: Exemplars) -> bytes:
    """
    Add exemplars to the lines that their indexes name.
    """
    lines = text.split(b"\n")
    for index, (trace_id, value, at) in dict(exemplars).items():  # in one step, since a request may add one now
        if (exemplar := _theirs((trace_id, value, at))) is not None:
            trace = _escaped(exemplar.labels["trace_id"])
            lines[index] += f' # {{trace_id="{trace}"}} {_go(value)} {at}'.encode()
    return b"\n".join(lines)


def _theirs(exemplar: Exemplar | None) -> _Exemplar | None:
    """
    Give an exemplar as `prometheus_client` has it; None where its label is longer than OpenMetrics allows.
    """
    if exemplar is None or len("trace_id") + len(exemplar[0]) > _EXEMPLAR_CHARACTERS:
        return None
    return _Exemplar({"trace_id": _sayable(exemplar[0])}, exemplar[1], exemplar[2])


class _One:
    """
    Hold one family for an encoder.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


def _encoded(metric: Metric, form: Format) -> Iterator[bytes]:
    """
    Let `prometheus_client` write a family, a batch of samples at a time: the same text, without its long silence.
    """

    def encode(samples: list[Sample]) -> bytes:
        return form.encode(_One(with_samples(metric, samples))).removesuffix(_EOF)

    head = encode([])
    yield head
    # The text format puts these last, each kind as a family of its own with two lines in front.
    apart = () if form.openmetrics else sorted(metric.name + suffix for suffix in ("_created", "_gcount", "_gsum"))
    for name in (None, *apart):
        samples = [sample for sample in metric.samples if (sample.name if sample.name in apart else None) == name]
        for start in range(0, len(samples), _BATCH):
            text = encode(samples[start : start + _BATCH])[len(head) :]
            yield text.split(b"\n", 2)[2] if name and start else text


def with_samples(metric: Metric, samples: list[Sample]) -> Metric:
    """
    Copy a family, with these samples.
    """
    changed = copy(metric)  # a collector may give the same object each time
    changed.samples = samples
    return changed


def _packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """
    Pack with gzip, piece by piece.
    """
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        if some := packer.compress(piece):
            yield some
    yield packer.flush()


def _rested(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """
    Let other threads run after each millisecond of work.
    """
    started = perf_counter()
    for piece in pieces:
        if perf_counter() - started > _WORK_SECONDS:
            sleep(_REST_SECONDS)
            started = perf_counter()
        yield piece


def _number(value: float) -> bytes:
    """
    Write a figure as Go does.
    """
    value = float(value)
    return repr(value).encode() if _FAR_BELOW < value < _MILLION else _go(value).encode()


def _count(value: float) -> bytes:
    """
    Write a whole number as Go does, faster: a busy service's counts are beyond a million.
    """
    if value < _MILLION:
        return b"%d.0" % value
    digits = b"%d" % float(value)  # as far as that is exact
    if len(digits) > len(_EXPONENTS):
        return _number(value)
    return (digits[:1] + b"." + digits[1:]).rstrip(b"0.") + _EXPONENTS[len(digits) - 1]


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _sayable(text: str) -> str:
    """
    Replace what UTF-8 cannot say: the names of odd files and variables hold surrogates.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
