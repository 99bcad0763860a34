"""
Render the samples of one family of obskit's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from obskit.catalogue.spec import Kind
from obskit.metrics.cell_format import LabelSet

if TYPE_CHECKING:
    from prometheus_client.core import Exemplar as ClientExemplar
    from prometheus_client.core import Sample

# Counter, gauge: (value,). Histogram: (unused, sum, bucket, bucket, ...), not cumulative, the last `+Inf`.
CellValues: TypeAlias = Sequence[float]
# Trace id, observed value, seconds since the epoch.
ExemplarTuple: TypeAlias = tuple[str, float, float]
# By the index of the bucket; a counter's is 0.
Exemplars: TypeAlias = Mapping[int, ExemplarTuple]


BLOCK_BYTES = 16 * 1024
# Names valid before UTF-8 names were: they need no escaping, whatever the client accepts.
_is_legacy_name = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_is_legacy_label = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_EXEMPLAR_CHARACTERS = 128  # OpenMetrics 1.0.0, "Exemplars": names and values of the labels together
_NONE: Mapping[Any, Any] = MappingProxyType({})
# Between these bounds `repr()` formats a float as prometheus_client does.
_MIN_REPR, _REPR_LIMIT = -1e15, 1_000_000
_EXPONENTS = tuple(b"e+%02d" % power for power in range(16))  # from 1e16 on `repr()` has an exponent itself


def go_float(value: float) -> str:
    """
    Format a float as `prometheus_client` does: as Go has it, with an exponent from 1e6 on.
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value:+}".replace("inf", "Inf")
    text = repr(float(value))
    whole, _, rest = text.partition(".")
    if value < _REPR_LIMIT or "e" in text:
        return text
    digits = (whole + rest).rstrip("0")
    return f"{digits[0]}.{digits[1:]}e+{len(whole) - 1:02}".replace(".e", "e")


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
        self.kind, self.help = kind, utf8_safe(help)
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
        help_text = escaped(self.help) if openmetrics else self.help.replace("\\", r"\\").replace("\n", r"\n")
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
            if size >= BLOCK_BYTES:
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
            if size >= BLOCK_BYTES:
                yield b"".join(blocks)
                blocks, size = [], 0
        yield b"".join(blocks)

    def _cell_template(self, labels: LabelSet) -> bytes:
        """
        Return a cell's template: the family's, with the label values filled in.
        """
        values = [utf8_safe(escaped(labels[index])).encode().replace(b"%", b"%%") for index in self._order]
        return self._template % (*values * self._template_lines,)

    def _family_template(self) -> tuple[bytes, int]:
        """
        Return a family's template, with `%` for label values and `%%` for numbers, and its number of lines.
        """
        if self.kind != "histogram":
            return self._sample(self.name, b"%%b"), 1
        count = b"%%d.0"
        edges = [go_float(bound) for bound in (*self.bounds, math.inf)]
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
        from prometheus_client.core import Sample

        named = {label: utf8_safe(value) for label, value in zip(self.labels, labels, strict=True)}
        if self.kind != "histogram":
            yield Sample(self.name, named, values[0], None, _client_exemplar(exemplars.get(0)))
            return
        counts = [*accumulate(values[2:])]
        for index, (bound, count) in enumerate(zip((*self.bounds, math.inf), counts, strict=True)):
            edge = {"le": go_float(bound)}
            yield Sample(self.name + "_bucket", named | edge, count, None, _client_exemplar(exemplars.get(index)))
        if not self.bounds or self.bounds[0] >= 0:
            yield Sample(self.name + "_count", named, counts[-1])
            yield Sample(self.name + "_sum", named, values[1])


def _format_float(value: float) -> bytes:
    """
    Format a float as Go does.
    """
    value = float(value)
    return repr(value).encode() if _MIN_REPR < value < _REPR_LIMIT else go_float(value).encode()


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


def escaped(text: str) -> str:
    """
    Escape what lies in quotes.
    """
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def utf8_safe(text: str) -> str:
    """
    Return text with surrogates, as in odd file names, replaced for UTF-8.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _with_exemplars(text: bytes, exemplars: Exemplars) -> bytes:
    """
    Append exemplars to the lines of their buckets.
    """
    lines = text.split(b"\n")
    for index, (trace_id, value, at) in dict(exemplars).items():  # in one step, since a request may add one now
        if (exemplar := _client_exemplar((trace_id, value, at))) is not None:
            trace = escaped(exemplar.labels["trace_id"])
            lines[index] += f' # {{trace_id="{trace}"}} {go_float(value)} {at}'.encode()
    return b"\n".join(lines)


def _client_exemplar(exemplar: ExemplarTuple | None) -> ClientExemplar | None:
    """
    Return an exemplar as `prometheus_client` has it; None where its label is longer than OpenMetrics allows.
    """
    if exemplar is None or len("trace_id") + len(exemplar[0]) > _EXEMPLAR_CHARACTERS:
        return None
    from prometheus_client.core import Exemplar

    return Exemplar({"trace_id": utf8_safe(exemplar[0])}, exemplar[1], exemplar[2])
