"""
Which values of a label are meant: one, or those of a pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from obskit.errors import SignalError
from obskit.late_patterns import late

# Python's patterns have these, and Prometheus' (RE2) do not; `(?P=` and `\1` refer back, `(?<=` looks around.
_only_python = late(r"\\[1-9AZNUu]|\(\?(?:=|!|<|#|>|\(|P=|[a-zA-Z-]*[aLux])|[*+?}]\+")
# Prometheus knows ASCII's digits, letters and blanks only, and its dot is any character since version 3.
_FLAGS = re.ASCII | re.DOTALL


@dataclass(frozen=True, slots=True)
class Matcher:
    """
    One value of a label, or the values that a whole pattern matches.
    """

    text: str
    is_pattern: bool = False

    def accepts(self, value: str) -> bool:
        """
        Return whether a label's value is meant.
        """
        return re.fullmatch(self.text, value, _FLAGS) is not None if self.is_pattern else value == self.text

    def promql(self) -> str:
        """
        Render operator and value, quoted.
        """
        return ("=~" if self.is_pattern else "=") + quoted(self.text)


def quoted(text: str) -> str:
    """
    Return text as PromQL quotes it.
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def matches(pattern: str) -> Matcher:
    """
    Ask for all values of a label that a regular expression matches as a whole: `matches("5..")`.

    Raises:
        SignalError: It is no pattern that both Python and Prometheus read.
    """
    if not isinstance(pattern, str):
        raise SignalError(f"matches() takes text, such as matches('5..'), not {type(pattern).__name__}")
    if found := _only_python.search(pattern):
        raise SignalError(f"{pattern!r} has {found[0]!r}, which Prometheus does not know: write it without")
    try:
        re.compile(pattern, _FLAGS)
    except re.error as error:
        raise SignalError(f"{pattern!r} is no pattern: {error}") from None
    return Matcher(pattern, is_pattern=True)
