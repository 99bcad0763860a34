"""
Redact fields, messages, tracebacks and query strings.

A secret is replaced by a marker that names the rule and never the value: `[redacted:password]`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice, pairwise
from operator import is_ as _is_same
from typing import Any
from urllib.parse import unquote_plus
from uuid import UUID

from obskit.late_patterns import late
from obskit.redaction.driver_errors import redact_exception_text
from obskit.redaction.keys import RuleCache, SecretKeys
from obskit.redaction.text_truncation import MAX_TEXT, redact_and_truncate, redact_with_mark
from obskit.redaction.values import (
    CARD_NUMBER_LIMIT,
    MIN_CARD_NUMBER,
    MIN_SECRET_LENGTH,
    SecretValues,
    is_marker,
    marker,
    rule_in,
)

# Deeper values, and values beyond this number, are cut: lines show no more.
MAX_DEPTH = 16
MAX_VALUES = 20_000
# Nothing is inside of these; what is in a string or in a number is looked at.
_SCALARS = frozenset([bool, type(None), float, datetime, date, time, timedelta, UUID, Decimal])
_name_in_message = late(r"[^\W\d][\w.-]{1,63}")
_query_of_request = late(r"\?(?!\[redacted:query\])[^\s'\">]+")
# A frame of a traceback: its place, and its source, which is indented further.
_frame = late(r'(?m)^([ |+]*+)File "[^"\n]*+", line \d++[^\n]*+\n(?:\1  [^\n]*\n?)*')


class Redactor:
    """
    A redactor by the names of fields, and by the form of values.

    Nothing here raises, whatever the input. Where there is nothing to redact, each method returns the very object that
    it was given; what is too large or too deep is cut, and a mark says how much. Redaction is idempotent. Thread-safe.

    Args:
        keys: Names of fields that are secret beside the default list, in any spelling: `birth_date` is found as
            `birthDate` too.
        values: False: redact by names only; `text()` then returns its input.

    Attributes:
        text: Redacts a message or another text by value; more than a million characters are truncated.
        safe_names: Names of fields that are shown, and their values judged by themselves; filled as names are seen.
        shorter_texts: Texts of fewer characters are shown as they are.
        smaller_integers: So are smaller integers.
    """

    text: Callable[[str], str]

    def __init__(self, keys: Iterable[str] = (), values: bool = True) -> None:
        keys = tuple(keys)
        self._rules = RuleCache(SecretKeys(keys))
        self._query_rules = RuleCache(SecretKeys(keys, query=True))
        finder = SecretValues(self._rules, self._query_rules)
        self.text, self._redact_any_length = finder.text, finder.text_of_any_length
        self._redact_source = finder.source_code
        if not values:
            self.text, self._redact_any_length, self._redact_source = _truncate_only, _unchanged, _unchanged
        self._rules.text = self._query_rules.text = self.text
        self.safe_names = self._rules.safe_names
        self.shorter_texts = MIN_SECRET_LENGTH if values else MAX_TEXT + 1
        self.smaller_integers = MIN_CARD_NUMBER if values else sys.maxsize

    def rule_for(self, name: str) -> str | None:
        """
        Return the rule that matches a field's name; None where its value is not a secret. The result is cached.
        """
        return self._rules[name]

    def fields(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        Redact the fields of a line, and whatever is inside of them.
        """
        text, safe_names = self.text, self.safe_names
        for name, value in given.items():
            if name not in safe_names:
                break
            kind = type(value)
            if kind is str:
                if len(value) >= MIN_SECRET_LENGTH and text(value) is not value:
                    break
            elif kind is int:
                if value >= MIN_CARD_NUMBER:
                    break
            elif kind not in _SCALARS:
                break
        else:
            return given
        fields: Mapping[str, Any] = self.value(given)
        return fields

    def value(self, value: Any) -> Any:
        return _Traversal(self).value(value, MAX_DEPTH)

    def contextual_field(self, name: str, value: Any, siblings: Mapping[Any, Any]) -> Any:
        """
        Redact a field whose name alone says too little (`CONTEXTUAL_NAMES`), by its siblings.
        """
        traversal = _Traversal(self)
        if name == "value":
            rule = traversal.rule_of_siblings(siblings)
            return value if rule is None or value is None or value == "" else marker(rule)
        return traversal.field(name, value, MAX_DEPTH) if isinstance(value, str) else value

    def arguments(self, message: str, given: Any) -> Any:
        """
        Redact arguments that do not fit their message: all of them where the message names a secret, since nothing says
        which of them it is.
        """
        if any(self._rules[name] is not None for name in _name_in_message.findall(message)):
            return marker("arguments")
        return self.value(given)

    def short(self, text: str, limit: int) -> str:
        """
        Redact a text by value, and return at most `limit` characters of it.
        """
        if len(text) <= limit:
            return self.text(text)[:limit]
        return redact_and_truncate(text, limit, self._redact_any_length)[0]

    def traceback(self, text: str) -> str:
        """
        Redact an exception's message or a traceback: first the values that drivers quote, then secrets by their form.

        Lines of source code are spared the names that are assigned to names: `password=form.password` says nothing.
        """
        redact = self.traceback_of_any_length
        return redact_with_mark(text, MAX_TEXT, redact) if len(text) > MAX_TEXT else redact(text)

    def traceback_of_any_length(self, text: str) -> str:
        """
        Redact a traceback without truncating it.
        """
        pieces, done = [], 0
        for frame in _frame.finditer(text):
            # Its last line ends outside of it, whatever is cut in it.
            start, end = frame.start(), frame.end() - frame[0].endswith("\n")
            pieces += [self._redact_message(text[done:start]), self._redact_source(text[start:end])]
            done = end
        return "".join([*pieces, self._redact_message(text[done:])]) if pieces else self._redact_message(text)

    def _redact_message(self, text: str) -> str:
        return self._redact_any_length(redact_exception_text(text))

    def short_query(self, text: str, limit: int) -> str:
        """
        Redact a query string, and return at most `limit` characters of it.
        """
        return redact_and_truncate(text, limit, self.query)[0]

    def query(self, text: str) -> str:
        """
        Redact the query string of a URL, by the names of its parameters and by their values.
        """
        return "&".join([self._parameter(part) for part in text.split("&")]) if text else text

    def _parameter(self, part: str) -> str:
        name, sign, value = part.partition("=")
        plain_name, plain_value = unquote_plus(name), unquote_plus(value)
        rule = rule_in(self.text(plain_name))
        if rule is not None and not is_marker(plain_name):
            name = marker(rule)
        rule = self._query_rules[plain_name] or rule_in(self.text(plain_value))
        if value and rule is not None and not is_marker(plain_value):
            value = marker(rule)
        return name + sign + value


def _unchanged(text: str) -> str:
    return text


def _truncate_only(text: str) -> str:
    return text if len(text) <= MAX_TEXT else redact_with_mark(text, MAX_TEXT, _unchanged)


class _Traversal:
    """
    One walk through a value and what is inside of it, each container once.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        # By identity: the container, kept alive so that no other takes its number, and what becomes of it.
        self._seen: dict[int, tuple[Any, Any]] = {}
        self._values_left = MAX_VALUES

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._redactor.text(value)
        if kind in _SCALARS:
            return value
        if kind is int:
            return self._redact_text_of(value) if MIN_CARD_NUMBER <= value < CARD_NUMBER_LIMIT else value
        known = self._seen.get(id(value))
        if known is not None:
            return known[1]
        self._seen[id(value)] = value, f"<{kind.__name__} inside of itself>"
        try:
            result = self._redact_inside(value, depth)
        except Exception:
            result = f"<{kind.__name__} that cannot be shown>"
        self._seen[id(value)] = value, result
        return result

    def _redact_inside(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._redact_text_of(value)
        if isinstance(value, Mapping):
            if "value" in value and (rule := self.rule_of_siblings(value)) is not None:
                value = {**value, "value": marker(rule)}  # a header, or a field of a form
            return self._redact_fields(value, value.items(), len(value), depth)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._redact_fields(value, zip(value._fields, value, strict=True), len(value), depth)
        if isinstance(value, (list, tuple, Set, deque)):
            items = list(islice(value, self._remaining(depth)))
            shown = [
                self._redact_item(item, depth - 1, before)
                for before, item in pairwise([None, *items])
                if self._count_value()
            ]
            if len(shown) < len(value):
                return [*shown, f"[{len(value) - len(shown)} items cut]"]
            return value if all(map(_is_same, shown, items)) else shown
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value) if field.repr]
            return self._redact_fields(value, [(name, getattr(value, name)) for name in names], len(names), depth)
        return self._redact_text_of(value)

    def rule_of_siblings(self, given: Mapping[Any, Any]) -> str | None:
        """
        Return the rule for a `value` beside these fields; None where it is not a secret.
        """
        return self._rule(given.get("name")) or self._rule(given.get("key"))

    def _remaining(self, depth: int) -> int:
        return max(self._values_left, 0) if depth else 0

    def _count_value(self) -> bool:
        self._values_left -= 1
        return self._values_left >= 0

    def _redact_fields(self, value: Any, given: Iterable[tuple[Any, Any]], count: int, depth: int) -> Any:
        pairs = list(islice(given, self._remaining(depth)))
        shown = [
            (self._redact_name(name), self.field(name, inner, depth - 1))
            for name, inner in pairs
            if self._count_value()
        ]
        if len(shown) < count:
            return {**dict(shown), "cut": f"[{count - len(shown)} fields cut]"}
        same = all(new[0] is old[0] and new[1] is old[1] for new, old in zip(shown, pairs, strict=True))
        return value if same else dict(shown)

    def _redact_name(self, name: Any) -> Any:
        if isinstance(name, str):
            return name if name in self._redactor.safe_names else self._redactor.text(name)
        if name is None or isinstance(name, (int, float)):
            return name
        text = str(name)
        shown = self._redactor.text(text)
        return name if shown is text else shown

    def field(self, name: Any, value: Any, depth: int) -> Any:
        """
        Redact a field by its name, and what is inside of it.
        """
        rule = self._rule(name)
        if rule is None:
            if name == "netloc" and isinstance(value, str) and "@" in value:  # of a URL that was split
                return self._redactor.text(f"x://{value}").removeprefix("x://")
            return self.value(value, depth)
        return value if value is None or value is True or value is False or value == "" else marker(rule)

    def _rule(self, name: Any) -> str | None:
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        elif not isinstance(name, str):  # a member of an enumeration, a tuple of names
            name = None if name is None or isinstance(name, (int, float)) else str(name)
        return None if name is None else self._redactor.rule_for(name)

    def _redact_item(self, value: Any, depth: int, before: Any) -> Any:
        """
        Redact an item of a list: a pair or a triple that starts with a name is a field, as in lists of headers; what
        follows a command-line option is its value.
        """
        kind = type(value)
        if kind is str and type(before) is str and before[:1] == "-" and value[:1] != "-":
            rule = self._rule(before) if "=" not in before else None
            return self.value(value, depth) if rule is None or not value else marker(rule)
        if (kind is tuple and len(value) in (2, 3)) or (kind is list and len(value) == 2):
            name, *inner = value
            if isinstance(name, (str, bytes)) and self._rule(name) is not None:
                shown = [self._redact_name(name), *(self.field(name, one, depth) for one in inner)]
                return value if all(map(_is_same, shown, value)) else shown
        return self.value(value, depth)

    def _redact_text_of(self, value: Any) -> Any:
        """
        Redact the text of a value that JSON cannot represent.
        """
        if isinstance(value, BaseException):
            text = f"{type(value).__name__}: {value}"
            shown = self._redactor.traceback(text)
        else:
            text = str(value)
            shown = self._redactor.text(text)
            if type(value).__name__.endswith("Request"):  # of a framework, which shows the query string
                shown = _query_of_request.sub("?[redacted:query]", shown)
                return value if shown == text else shown
        return value if shown is text else shown
