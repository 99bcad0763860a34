"""
What rules could be in place of what they are: each with one mistake, made in the tree of its expression.
"""

from dataclasses import dataclass, fields, is_dataclass, replace

from obskit.signals.counted import Rise
from obskit.signals.derived import Ratio
from obskit.signals.matching import Matcher, quoted
from obskit.signals.selection import Grouping, Selection
from obskit.signals.signal import AtLeast, Condition
from obskit.signals.windows import SHORTEST_SECONDS, Span

TURNED = {">": "<", "<": ">", ">=": "<=", "<=": ">="}


@dataclass(frozen=True)
class Negated(Matcher):
    """
    All values but those that are meant.
    """

    def accepts(self, value):
        return not super().accepts(value)

    def promql(self):
        return ("!~" if self.is_pattern else "!=") + quoted(self.text)


def mutants_of(rule, page):
    """
    Yield what is wrong, a condition, and for how long it must hold.
    """
    signal, sign, threshold = rule.condition.compared
    for name, mutated in _of(signal, page):
        yield name, Condition(mutated, sign, threshold), rule.for_seconds
    wrong = {"turned": (TURNED[sign], threshold), "× 2": (sign, threshold * 2), "÷ 2": (sign, threshold / 2)}
    for name, compared in wrong.items():
        yield f"comparison {name}", Condition(signal, *compared), rule.for_seconds
    if rule.for_seconds:
        yield "for 0", rule.condition, 0.0
        yield "for doubled", rule.condition, rule.for_seconds * 2


def _of(signal, page):
    spans, groupings = set(_all(signal, Span)), set(_all(signal, Grouping))
    for name, factor in (("× 3", 3.0), ("÷ 3", 1 / 3)):
        if spans and all(span.window * factor >= SHORTEST_SECONDS for span in spans):
            yield f"window {name}", _every(signal, Span, lambda span, by=factor: replace(span, window=span.window * by))
    for label in sorted({label for grouping in groupings for label in grouping.labels}):
        yield f"by {label} dropped", _every(signal, Grouping, lambda it, gone=label: _without(it, gone))
    for node, put in _nodes(signal):
        yield from ((name, put(it)) for name, it in _mistakes(node, page))


def _mistakes(node, page):
    match node:
        case Selection():
            for place, (label, matcher) in enumerate(node.where):
                others = node.where[:place], node.where[place + 1 :]
                yield f"{label} not asked for", replace(node, where=(*others[0], *others[1]))
                negated = (label, Negated(matcher.text, matcher.is_pattern))
                yield f"{label} negated", replace(node, where=(*others[0], negated, *others[1]))
            if node.bound is not None:
                bounds = page.bounds_of(node.metric)
                place = bounds.index(node.bound)
                yield from ((f"bound {it}", replace(node, bound=it)) for it in bounds[max(place - 1, 0) : place])
                yield from ((f"bound {it}", replace(node, bound=it)) for it in bounds[place + 1 : place + 2])
        case Ratio():
            yield "part for whole", replace(node, whole=node.part)
            yield "whole for part", replace(node, part=node.whole)
        case Rise():
            yield "rate for increase", replace(node, per_second=not node.per_second)
        case AtLeast():
            if node.fewest_requests:
                yield "no floor of requests", replace(node, fewest_requests=0)
            if node.fewest_failures:
                yield "no floor of failures", replace(node, fewest_failures=0)


def _without(grouping, label):
    return replace(grouping, labels=tuple(it for it in grouping.labels if it != label))


def _nodes(node, put=lambda it: it):
    """
    Yield each part of a tree, and what puts another in its place.
    """
    if not is_dataclass(node) or isinstance(node, type):
        return
    yield node, put
    for it in fields(node):
        inside = getattr(node, it.name)
        yield from _nodes(inside, lambda other, name=it.name: put(replace(node, **{name: other})))


def _all(node, kind):
    return (it for it, _ in _nodes(node) if isinstance(it, kind))


def _every(node, kind, change):
    if isinstance(node, kind):
        return change(node)
    if not is_dataclass(node) or isinstance(node, type):
        return node
    inside = {it.name: getattr(node, it.name) for it in fields(node)}
    return replace(node, **{name: _every(value, kind, change) for name, value in inside.items()})
