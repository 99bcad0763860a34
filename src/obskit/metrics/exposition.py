"""
The metrics page: obskit's families rendered fast, and all others by `prometheus_client`.

The text is what `prometheus_client` would print for the same families. It is cheap since names and labels of a cell
are formatted once, as a template that one `%` fills with the values, and cached until the label set is gone. The page
is rendered in pieces, with a pause between them, so that rendering never blocks other threads for long.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from obskit.metrics.cell_format import LabelSet
from obskit.metrics.family_renderer import (
    CellValues,
    Exemplars,
    FamilyRenderer,
)
from obskit.recorder import recorder
from obskit.time.clock import rest, system_clock

if TYPE_CHECKING:
    from prometheus_client.core import Metric, Sample

PIECE_BYTES = 64 * 1024
_BATCH = 200  # samples that prometheus_client encodes in about a millisecond
_NONE: Mapping[Any, Any] = MappingProxyType({})
_EOF = b"# EOF\n"
_WORK_SECONDS, _REST_SECONDS = 0.001, 0.00005
# The suffixes of the sample names of each type.
SUFFIXES = {
    "counter": ("_total", "_created"),
    "summary": ("_sum", "_count", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "info": ("_info",),
}


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
        from prometheus_client.core import Metric

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
    from prometheus_client.exposition import choose_encoder

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
