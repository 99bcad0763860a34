"""
The metrics page: obskit's families rendered fast, and all others by `prometheus_client`.

The text is what `prometheus_client` would print for the same families. It is cheap since names and labels of a cell
are formatted once, as a template that one `%` fills with the values, and cached until the label set is gone. The page
is rendered in pieces, with a pause between them, so that rendering never blocks other threads for long.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from types import MappingProxyType
from typing import Any, TypeAlias

from prometheus_client.core import Exemplar as _Exemplar
from prometheus_client.core import Metric, Sample
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from obskit.catalogue.spec import Kind
from obskit.metrics.cell_format import LabelSet
from obskit.recorder import recorder
from obskit.time.clock import rest, system_clock

# Counter, gauge: (value,). Histogram: (unused, sum, bucket, bucket, ...), not cumulative, the last `+Inf`.
CellValues: TypeAlias = Sequence[float]
# Trace id, observed value, seconds since the epoch.
ExemplarTuple: TypeAlias = tuple[str, float, float]
# By the index of the bucket; a counter's is 0.
Exemplars: TypeAlias = Mapping[int, ExemplarTuple]

PIECE_BYTES = 64 * 1024
_BLOCK_BYTES = 16 * 1024
_BATCH = 200  # samples that prometheus_client encodes in about a millisecond
# Names valid before UTF-8 names were: they need no escaping, whatever the client accepts.
_is_legacy_name = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_is_legacy_label = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_EXEMPLAR_CHARACTERS = 128  # OpenMetrics 1.0.0, "Exemplars": names and values of the labels together
_EOF = b"# EOF\n"
_NONE: Mapping[Any, Any] = MappingProxyType({})
_go_float: Callable[[float], str] = floatToGoString
# Between these bounds `repr()` formats a float as prometheus_client does.
_MIN_REPR, _REPR_LIMIT = -1e15, 1_000_000
_EXPONENTS = tuple(b"e+%02d" % power for power in range(16))  # from 1e16 on `repr()` has an exponent itself
_WORK_SECONDS, _REST_SECONDS = 0.001, 0.00005
# The suffixes of the sample names of each type.
SUFFIXES = {
    "counter": ("_total", "_created"),
    "summary": ("_sum", "_count", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "info": ("_info",),
}


class FamilyRenderer:
    """
    Renders one family, and caches the template of each cell. Create it once per family.

    Attributes:
        name: The name on the page; a counter's ends in `_total`, which is added where it is missing.
        kind: `counter`, `gauge` or `histogram`.
        help: Shown in the `HELP` line.
        labels: Label names, in the order of the cells' label values; the page has them sorted.
        bounds: A histogram's upper bounds without `+Inf`. With one below zero, sum and count are not shown.
    """

    __slots__ = (
        "_cell_templates",
        "_order",
        "_template",
        "_template_lines",
        "bounds",
        "family",
        "help",
        "is_legacy",
        "kind",
        "labels",
        "name",
    )

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
        self.kind, self.help = kind, _utf8_safe(help)
        self.labels, self.bounds = tuple(labels), tuple(bounds)
        self.is_legacy = bool(_is_legacy_name(self.family)) and all(map(_is_legacy_label, self.labels))
        self._order = sorted(range(len(self.labels)), key=self.labels.__getitem__)
        self._template, self._template_lines = self._family_template()
        self._cell_templates: dict[LabelSet, bytes] = {}

    def head(self, openmetrics: bool) -> bytes:
        """
        Render the HELP and TYPE lines.
        """
        name = self.family if openmetrics else self.name
        help_text = _escaped(self.help) if openmetrics else self.help.replace("\\", r"\\").replace("\n", r"\n")
        return f"# HELP {name} {help_text}\n# TYPE {name} {self.kind}\n".encode()

    def lines(
        self, cells: Iterable[tuple[LabelSet, CellValues]], exemplars: Mapping[LabelSet, Exemplars] = _NONE
    ) -> Iterator[bytes]:
        """
        Render the samples in blocks of cells. Afterwards the templates of these cells are cached, and no others.
        """
        fresh: dict[LabelSet, bytes] = {}
        yield from (self._histograms if self.kind == "histogram" else self._values)(cells, exemplars, fresh)
        self._cell_templates = fresh

    # The two loops are written out, since each line of the page pays for them.
    def _values(
        self,
        cells: Iterable[tuple[LabelSet, CellValues]],
        exemplars: Mapping[LabelSet, Exemplars],
        fresh: dict[LabelSet, bytes],
    ) -> Iterator[bytes]:
        kept, lines, size = self._cell_templates, list[bytes](), 0
        for labels, (given,) in cells:
            template = fresh[labels] = kept.get(labels) or self._cell_template(labels)
            value = float(given)
            line = template % (repr(value).encode() if _MIN_REPR < value < _REPR_LIMIT else _format_float(value))
            if exemplars and labels in exemplars:
                line = _with_exemplars(line, exemplars[labels])
            lines.append(line)
            size += len(line)
            if size >= _BLOCK_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
        yield b"".join(lines)

    def _histograms(
        self,
        cells: Iterable[tuple[LabelSet, CellValues]],
        exemplars: Mapping[LabelSet, Exemplars],
        fresh: dict[LabelSet, bytes],
    ) -> Iterator[bytes]:
        kept, blocks, size = self._cell_templates, list[bytes](), 0
        for labels, values in cells:
            counts = [*accumulate(values[2:])]
            counts.append(counts[-1])
            template = fresh[labels] = kept.get(labels) or self._cell_template(labels)
            total = _format_float(values[1])
            if counts[-1] < _REPR_LIMIT:
                block = template % (*counts, total)
            else:  # label values have no line breaks, so that only placeholders match
                block = template.replace(b" %d.0\n", b" %b\n") % (*map(_format_count, counts), total)
            if exemplars and labels in exemplars:
                block = _with_exemplars(block, exemplars[labels])
            blocks.append(block)
            size += len(block)
            if size >= _BLOCK_BYTES:
                yield b"".join(blocks)
                blocks, size = [], 0
        yield b"".join(blocks)

    def _cell_template(self, labels: LabelSet) -> bytes:
        """
        Return a cell's template: the family's, with the label values filled in.
        """
        values = [_utf8_safe(_escaped(labels[index])).encode().replace(b"%", b"%%") for index in self._order]
        return self._template % (*values * self._template_lines,)

    def _family_template(self) -> tuple[bytes, int]:
        """
        Return a family's template, with `%` for label values and `%%` for numbers, and its number of lines.
        """
        if self.kind != "histogram":
            return self._sample(self.name, b"%%b"), 1
        count = b"%%d.0"
        edges = [_go_float(bound) for bound in (*self.bounds, math.inf)]
        lines = [self._sample(self.name + "_bucket", count, edge) for edge in edges]
        if self.bounds and self.bounds[0] < 0:
            return b"".join(lines) + b"%%.0a%%.0a", len(lines)  # consume the sum and count, which are not shown
        lines += [self._sample(self.name + "_count", count), self._sample(self.name + "_sum", b"%%b")]
        return b"".join(lines), len(lines)

    def _sample(self, name: str, placeholder: bytes, edge: str | None = None) -> bytes:
        pairs = dict.fromkeys(self.labels, "%b") | ({} if edge is None else {"le": edge})
        inside = ",".join([f'{label}="{value}"' for label, value in sorted(pairs.items())])
        return (f"{name}{{{inside}}}" if inside else name).encode() + b" " + placeholder + b"\n"

    def samples(self, labels: LabelSet, values: CellValues, exemplars: Exemplars) -> Iterator[Sample]:
        """
        Yield one cell's samples as `prometheus_client` has them.
        """
        named = {label: _utf8_safe(value) for label, value in zip(self.labels, labels, strict=True)}
        if self.kind != "histogram":
            yield Sample(self.name, named, values[0], None, _client_exemplar(exemplars.get(0)))
            return
        counts = [*accumulate(values[2:])]
        for index, (bound, count) in enumerate(zip((*self.bounds, math.inf), counts, strict=True)):
            edge = {"le": _go_float(bound)}
            yield Sample(self.name + "_bucket", named | edge, count, None, _client_exemplar(exemplars.get(index)))
        if not self.bounds or self.bounds[0] >= 0:
            yield Sample(self.name + "_count", named, counts[-1])
            yield Sample(self.name + "_sum", named, values[1])


@dataclass(slots=True)
class Section:
    """
    One family's values for one page.

    Attributes:
        renderer: Renders the family.
        cells: Label set and values of each cell; iterated once. Generate them lazily: a large family's, all alive at
            once, would trigger the garbage collector, which stops every thread.
        exemplars: Of some cells, by label set; shown by OpenMetrics on counters and on buckets.
    """

    renderer: FamilyRenderer
    cells: Iterable[tuple[LabelSet, CellValues]]
    exemplars: Mapping[LabelSet, Exemplars] = field(default_factory=dict)

    def metric(self) -> Metric:
        """
        Return the family as `prometheus_client` has it, for a collector.
        """
        renderer = self.renderer
        metric = Metric(renderer.family, renderer.help, renderer.kind)
        for labels, values in self.cells:
            metric.samples.extend(renderer.samples(labels, values, self.exemplars.get(labels, {})))
        return metric


@dataclass(frozen=True, slots=True)
class PageFormat:
    """
    The negotiated format of a page.

    Attributes:
        content_type: The `Content-Type` header, as `prometheus_client` has it.
        openmetrics: True for OpenMetrics, False for the text format.
        is_legacy: Whether legacy names need no escaping.
        encode: `prometheus_client`'s encoder for it.
    """

    content_type: str
    openmetrics: bool
    is_legacy: bool
    encode: Callable[[Any], bytes]


def negotiate(accept: str) -> PageFormat:
    """
    Return the format the client prefers, by `prometheus_client`'s rules where it accepts several equally.
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


def _chosen(parts: list[str]) -> PageFormat | None:
    default = _format("")
    try:
        chosen = _format(",".join(parts))
    except Exception:  # prometheus_client compares a version that is not a number with one that is
        chosen = default
    if not (chosen.content_type.isascii() and chosen.content_type.isprintable()):
        chosen = default  # it repeats the version that was asked for, and this goes into a header
    media = {part.partition(";")[0].strip() for part in parts}
    if chosen.content_type == default.content_type and media.isdisjoint(("text/plain", "text/*", "*/*")):
        return None
    return chosen


def _format(accept: str) -> PageFormat:
    encode, content_type = choose_encoder(accept)
    escaping = content_type.partition("escaping=")[2] or "underscores"
    openmetrics = content_type.startswith("application/openmetrics-text")
    return PageFormat(content_type, openmetrics, escaping in ("underscores", "allow-utf-8"), encode)


def render_page(
    sections: Iterable[Section],
    others: Iterable[Metric] = (),
    *,
    accept: str = "",
    names: Collection[str] | None = None,
    packed: bool = False,
) -> tuple[list[tuple[str, str]], Iterator[bytes]]:
    """
    Return the headers of a page, and an iterator of its body that lets other threads run between pieces.

    Args:
        sections: obskit's own families, in the page's order.
        others: The other families, see `foreign_families()`; one whose names obskit's have is dropped, and counted.
        accept: The client's `Accept` header.
        names: `name[]`, names of samples or families; None is all.
        packed: Whether the body is compressed with gzip.
    """
    form = negotiate(accept)
    headers, body = [("Content-Type", form.content_type)], _yield_to_threads(_body(sections, others, form, names))
    if not packed:
        return headers, body
    return [*headers, ("Content-Encoding", "gzip")], _gzip_pieces(body)


def _body(
    sections: Iterable[Section], others: Iterable[Metric], form: PageFormat, names: Collection[str] | None
) -> Iterator[bytes]:
    taken: set[str] = set()
    yield from render_sections(_note_names(sections, taken), form, names)
    for metric in others:
        claimed = {metric.name, *(metric.name + suffix for suffix in SUFFIXES.get(metric.type, ()))}
        if not taken.isdisjoint(claimed):
            recorder.dropped.inc(("metrics_page", "duplicate"))
            continue
        taken |= claimed
        try:
            yield from _encode_with_client(metric, form)
        except Exception as error:  # a value that is not a number
            recorder.failed("metrics_page", error)
    if form.openmetrics:
        yield _EOF


def _note_names(sections: Iterable[Section], taken: set[str]) -> Iterator[Section]:
    for section in sections:
        renderer = section.renderer
        taken.update((renderer.family, *(renderer.family + suffix for suffix in SUFFIXES.get(renderer.kind, ()))))
        yield section


def render_sections(
    sections: Iterable[Section], form: PageFormat, names: Collection[str] | None = None
) -> Iterator[bytes]:
    """
    Render obskit's families, in pieces of about 64 KiB and without OpenMetrics' `# EOF`.

    A family that fails ends where it fails, and the error is counted.
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


def _blocks(section: Section, form: PageFormat, names: Collection[str] | None) -> Iterator[bytes]:
    renderer = section.renderer
    if names is not None and renderer.family not in names and renderer.name not in names:
        yield from _selected(section, form, names)
    elif not (renderer.is_legacy and form.is_legacy):
        yield from _encode_with_client(section.metric(), form)
    else:
        yield renderer.head(form.openmetrics)
        marks = form.openmetrics and renderer.kind in ("counter", "histogram")
        yield from renderer.lines(section.cells, section.exemplars if marks else _NONE)


def _selected(section: Section, form: PageFormat, names: Collection[str]) -> Iterator[bytes]:
    """
    Render single samples of a histogram, by `prometheus_client`: `name[]` rarely asks for them.
    """
    renderer = section.renderer
    if renderer.kind == "histogram" and any(
        renderer.name + suffix in names for suffix in ("_bucket", "_sum", "_count")
    ):
        metric = section.metric()
        metric.samples = [sample for sample in metric.samples if sample.name in names]
        if metric.samples:
            yield from _encode_with_client(metric, form)


def _with_exemplars(text: bytes, exemplars: Exemplars) -> bytes:
    """
    Append exemplars to the lines of their buckets.
    """
    lines = text.split(b"\n")
    for index, (trace_id, value, at) in dict(exemplars).items():  # in one step, since a request may add one now
        if (exemplar := _client_exemplar((trace_id, value, at))) is not None:
            trace = _escaped(exemplar.labels["trace_id"])
            lines[index] += f' # {{trace_id="{trace}"}} {_go_float(value)} {at}'.encode()
    return b"\n".join(lines)


def _client_exemplar(exemplar: ExemplarTuple | None) -> _Exemplar | None:
    """
    Return an exemplar as `prometheus_client` has it; None where its label is longer than OpenMetrics allows.
    """
    if exemplar is None or len("trace_id") + len(exemplar[0]) > _EXEMPLAR_CHARACTERS:
        return None
    return _Exemplar({"trace_id": _utf8_safe(exemplar[0])}, exemplar[1], exemplar[2])


class _SingleFamily:
    """
    A registry of one family, for an encoder.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


def _encode_with_client(metric: Metric, form: PageFormat) -> Iterator[bytes]:
    """
    Render a family by `prometheus_client`, a batch of samples at a time, so that other threads run in between.
    """

    def encode(samples: list[Sample]) -> bytes:
        return form.encode(_SingleFamily(with_samples(metric, samples))).removesuffix(_EOF)

    head = encode([])
    yield head
    # The text format has these last, each as a family of its own with HELP and TYPE.
    apart = () if form.openmetrics else sorted(metric.name + suffix for suffix in ("_created", "_gcount", "_gsum"))
    for name in (None, *apart):
        samples = [sample for sample in metric.samples if (sample.name if sample.name in apart else None) == name]
        for start in range(0, len(samples), _BATCH):
            text = encode(samples[start : start + _BATCH])[len(head) :]
            yield text.split(b"\n", 2)[2] if name and start else text


def with_samples(metric: Metric, samples: list[Sample]) -> Metric:
    """
    Return a copy of a family with these samples.
    """
    changed = copy(metric)  # a collector may give the same object each time
    changed.samples = samples
    return changed


def _gzip_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """
    Compress with gzip, piece by piece.
    """
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        if some := packer.compress(piece):
            yield some
    yield packer.flush()


def _yield_to_threads(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """
    Yield to other threads after each millisecond of work.
    """
    started = system_clock.monotonic()
    for piece in pieces:
        if system_clock.monotonic() - started > _WORK_SECONDS:
            rest(_REST_SECONDS)
            started = system_clock.monotonic()
        yield piece


def _format_float(value: float) -> bytes:
    """
    Format a float as Go does.
    """
    value = float(value)
    return repr(value).encode() if _MIN_REPR < value < _REPR_LIMIT else _go_float(value).encode()


def _format_count(value: float) -> bytes:
    """
    Format a count as Go does, faster than `_format_float()`.
    """
    if value < _REPR_LIMIT:
        return b"%d.0" % value
    digits = b"%d" % float(value)  # as far as that is exact
    if len(digits) > len(_EXPONENTS):
        return _format_float(value)
    return (digits[:1] + b"." + digits[1:]).rstrip(b"0.") + _EXPONENTS[len(digits) - 1]


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _utf8_safe(text: str) -> str:
    """
    Return text with surrogates, as in odd file names, replaced for UTF-8.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
