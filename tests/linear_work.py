"""
Find what a text could make slow: patterns and functions whose work grows faster than their text.

A text is driven by `prefix + unit * n + suffix`. At 16n, work that is linear takes sixteen times what it takes at n,
and work that is quadratic 256 times: a ratio of 64 tells one from the other though a machine be four times as slow at
one moment as at another. What is compared is the processor time of this thread alone, the least of several turns, in
which both lengths take theirs one after the other: what else the machine does falls on both.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import pkgutil
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import _lru_cache_wrapper, partial
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from time import thread_time
from types import BuiltinFunctionType, CellType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple

from obskit.late_patterns import LatePattern

Work = Callable[[str], object]

# At n a text takes so long to work on, and at 16n less than so many times as long.
LEAST_SECONDS = 0.0005
FACTOR = 16
MOST = 64.0
TURNS = 5
# What takes longer than that at 16n needs no further turn: no machine makes it of linear work's eight milliseconds.
SURE_SECONDS = 0.1
# Longer texts are not needed: what takes less than half a millisecond for them harms nobody.
MAX_LENGTH = 400_000
# A first look at two lengths lets through what is fast at the longer, at twelve nanoseconds a character, and what grows
# by no more than this; quadratic work of the cheapest kind, a comparison of bytes, takes twice the time.
_FIRST_LENGTHS = (1_000, 4_000)
_FAST = 50e-6
_FIRST_RATIO = 5.5


class Driven(NamedTuple):
    """
    A text of any length.
    """

    prefix: str
    unit: str
    suffix: str

    def of(self, length: int) -> str:
        return self.prefix + self.unit * max(length // len(self.unit), 1) + self.suffix


class Slow(NamedTuple):
    """
    What took too long, and on which text.
    """

    what: str
    driven: Driven
    ratio: float


def seconds(work: Work, text: str, times: int = 1) -> float:
    best = float("inf")
    for _ in range(times):
        start = thread_time()
        work(text)
        best = min(best, thread_time() - start)
    return best


def ratio(work: Work, driven: Driven) -> float:
    """
    Return how many times as long the work takes at 16n as at n, where n is so large that it takes half a millisecond.
    """
    length = 256
    while (taken := seconds(work, driven.of(length), 3)) < LEAST_SECONDS:
        if length >= MAX_LENGTH:
            return 1.0
        # Not in one step: the first part of it is few characters, where the work is quadratic.
        length *= 2 if taken > LEAST_SECONDS / 8 else 4
    short, long = driven.of(length), driven.of(FACTOR * length)
    least_short = least_long = float("inf")
    for turn in range(TURNS):
        least_short = min(least_short, seconds(work, short, 2))
        least_long = min(least_long, seconds(work, long))
        if turn and least_long > SURE_SECONDS:  # not the first time: a machine has its moments
            break
    return least_long / least_short


def is_suspect(work: Work, driven: Driven) -> bool:
    """
    Look at short texts first, since most are no trouble; twice, since a machine has its moments.
    """
    short, long = (driven.of(length) for length in _FIRST_LENGTHS)
    taken = seconds(work, long)
    if taken < _FAST or taken <= _FIRST_RATIO * seconds(work, short):
        return False
    return seconds(work, long, 3) > _FIRST_RATIO * seconds(work, short, 3)


def slow(what: str, work: Work, texts: Iterable[Driven]) -> Slow | None:
    """
    Return the first text on which the work grows faster than the text does.
    """
    for driven in texts:
        if is_suspect(work, driven) and (found := ratio(work, driven)) >= MOST:
            return Slow(what, driven, found)
    return None


# Patterns


def modules_of(package: str) -> list[ModuleType]:
    """
    Import all modules of a package; those whose library is not installed are left out.
    """
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, package + "."):
        try:
            importlib.import_module(found.name)
        except ImportError:
            continue
    inside = (package, package + ".")
    return [module for name, module in sorted(sys.modules.items()) if name == inside[0] or name.startswith(inside[1])]


_HOLDERS = (dict, list, tuple, set, frozenset, deque, CellType, MappingProxyType, partial, _lru_cache_wrapper)


def patterns_of(modules: Iterable[ModuleType], package: str) -> dict[tuple[Any, int], re.Pattern[Any]]:
    """
    Reach every compiled pattern from these modules: through globals, classes, functions and their closures, methods
    that are bound to a pattern, containers, caches of functions, and instances of the package's own classes.
    """
    found: dict[tuple[Any, int], re.Pattern[Any]] = {}
    seen: set[int] = set()
    ahead: list[Any] = list(modules)
    while ahead:
        thing = ahead.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if type(thing) is LatePattern:
            ahead.append(thing.match)  # compiled by that, and a method of the pattern
        elif type(thing) is re.Pattern:
            found[thing.pattern, thing.flags] = thing
        elif _is_followed(thing, package):
            ahead += gc.get_referents(thing)
    return dict(sorted(found.items(), key=lambda item: (str(item[0][0]), item[0][1])))  # the same in every process


def _is_followed(thing: Any, package: str) -> bool:
    # By the type alone: a lazy object of a framework would wake up when it is asked.
    kind = type(thing)
    if issubclass(kind, ModuleType):
        return _is_in(thing.__name__, package)
    if issubclass(kind, BuiltinFunctionType):
        return type(thing.__self__) is re.Pattern
    if issubclass(kind, (type, FunctionType)):
        return _is_in(thing.__module__, package)
    return issubclass(kind, (MethodType, *_HOLDERS)) or _is_in(kind.__module__, package)


def _is_in(name: Any, package: str) -> bool:
    return isinstance(name, str) and f"{name}.".startswith(f"{package}.")


# Texts out of a pattern's own alphabet

_OF_CATEGORIES = {
    codes.CATEGORY_DIGIT: "1",
    codes.CATEGORY_NOT_DIGIT: "a ",
    codes.CATEGORY_SPACE: " \n",
    codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_WORD: "aé1",
    codes.CATEGORY_NOT_WORD: " '",
}
_PALETTE = "aAé1 \n!"


def _samples(items: Any) -> str:
    """
    Return a few characters that a class takes.
    """
    negated = items[0][0] is codes.NEGATE
    taken = ""
    for code, value in items[negated:]:
        if code is codes.LITERAL:
            taken += chr(value)
        elif code is codes.RANGE:
            taken += chr(value[0])
        elif code is codes.CATEGORY:
            taken += _OF_CATEGORIES[value]
    if not negated:
        return taken[:12]
    return "".join(char for char in "aé1 \n'=:./\"" if char not in taken)[:4] or "~"


def _alphabet(parsed: Any) -> Iterator[str]:
    """
    Yield every character that a pattern names, those which a class leaves out as well.
    """
    for code, value in parsed:
        if code in (codes.LITERAL, codes.NOT_LITERAL):
            yield chr(value)
        elif code is codes.IN:
            yield from _samples([item for item in value if item[0] is not codes.NEGATE] or [(codes.LITERAL, 97)])
        elif code is codes.BRANCH:
            for branch in value[1]:
                yield from _alphabet(branch)
        elif code in (codes.SUBPATTERN, codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            yield from _alphabet(value[-1])
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            yield from _alphabet(value[1])
        elif code is codes.ATOMIC_GROUP:
            yield from _alphabet(value)


def parsed(pattern: re.Pattern[Any]) -> Any:
    """
    Take a pattern apart.
    """
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    return parser.parse(source, pattern.flags & ~re.DEBUG)


def _atoms(parsed: Any) -> list[list[str]]:
    """
    Return for each place of a pattern a few texts that it takes.
    """
    found: list[list[str]] = []
    literal = ""
    for code, value in parsed:
        if code is codes.LITERAL:
            literal += chr(value)
            continue
        if literal:
            found.append([literal])
            literal = ""
        found += _inside(code, value)
    return [*found, [literal]] if literal else found


def _inside(code: Any, value: Any) -> list[list[str]]:
    if code is codes.IN:
        return [list(_samples(value))]
    if code is codes.NOT_LITERAL:
        return [[char for char in "aé \n" if ord(char) != value][:3]]
    if code is codes.ANY:
        return [["a", "é", " "]]
    if code is codes.BRANCH:
        branches = [_atoms(branch) for branch in value[1]]
        return [["".join(texts[0] for texts in branch) for branch in branches], *itertools.chain(*branches[:12])]
    if code is codes.SUBPATTERN:
        return _atoms(value[3])
    if code is codes.ATOMIC_GROUP:
        return _atoms(value)
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        low, _, inner = value
        repeated = _atoms(inner)
        if not repeated:
            return []
        whole = "".join(texts[0] for texts in repeated)
        return [[whole * max(min(low, 64), 1)], *repeated]
    if code is codes.ASSERT:
        return _atoms(value[1])
    return []  # what must not stand there is in the alphabet


def texts_for(pattern: re.Pattern[Any]) -> list[Driven]:
    """
    Make texts out of what a pattern takes: repetitions of its parts, behind its beginnings, before what ends it.
    """
    tree = parsed(pattern)
    parts = [part for part in _atoms(tree) if part and any(part)][:40]
    firsts = [part[0] for part in parts]
    wholes = ["".join(firsts[:end]) for end in range(2, len(firsts) + 1)]
    literals = [text for part in parts for text in part if len(text) > 1]
    characters = list(dict.fromkeys([*_alphabet(tree), *_PALETTE]))[:22]
    pairs = [a + b for left, right in itertools.pairwise(parts) for a in left[:2] for b in right[:2]]
    mixed = [literal + character for literal in literals[:8] for character in "aé1 '"]
    longer = dict.fromkeys([*literals[:20], *wholes[:8], *pairs[:25], *mixed[:25]])
    prefixes = dict.fromkeys(["", *wholes[:4], *wholes[-1:]])
    singles = itertools.product(prefixes, characters, ("", "a", "!"))
    return [*itertools.starmap(Driven, singles), *(Driven("", unit, suffix) for unit in longer for suffix in ("", "!"))]


def works_of(pattern: re.Pattern[Any]) -> list[tuple[str, Work]]:
    """
    Return both ways to drive a pattern: the replacement of all that is found, and a search.
    """
    if isinstance(pattern.pattern, bytes):
        return [
            ("sub", lambda text: pattern.sub(b"", text.encode())),
            ("search", lambda text: pattern.search(text.encode())),
        ]
    return [("sub", partial(pattern.sub, "")), ("search", pattern.search)]


def slow_pattern(pattern: re.Pattern[Any]) -> Slow | None:
    """
    Drive a pattern by texts of its own alphabet.

    Whatever a search goes through, a replacement does too: texts that are no trouble for it are none for a search.
    """
    works = works_of(pattern)
    replace = works[0][1]
    for driven in texts_for(pattern):
        if is_suspect(replace, driven):
            for name, work in works:
                if (found := ratio(work, driven)) >= MOST:
                    return Slow(f"{name} of {pattern.pattern!r}", driven, found)
    return None
