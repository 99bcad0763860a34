"""
Declare settings, check their values and read them: what each section of the settings is made with.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import timedelta
from typing import Any, ClassVar, Literal, Self, TypeAlias, TypeVar, dataclass_transform

from obskit.errors import ConfigurationError, UnknownSettingError
from obskit.time.durations import seconds_of

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
# Returns the value that is kept; raises a ValueError that says what is expected.
Check: TypeAlias = Callable[[Any], Any]
S = TypeVar("S")
SECRET_BYTES = 65_536


# Checks


def checked(what: str, *checks: Check) -> Check:
    """
    Pass a value through these checks; the error of any says that `what` is expected.
    """

    def check(value: Any) -> Any:
        try:
            for each in checks:
                value = each(value)
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            raise ValueError(what) from error
        return value

    return check


def when(test: Callable[[Any], object], what: str) -> Check:
    """
    Take a value that passes a test.
    """

    def check(value: Any) -> Any:
        if not test(value):
            raise ValueError(what)
        return value

    return check


def matching(pattern: str, what: str) -> Check:
    """
    Take a text of which this pattern matches the whole.
    """
    return checked(what, when(re.compile(pattern).fullmatch, what))


def one_of(*names: str) -> Check:
    """
    Take one of these texts.
    """
    return when(names.__contains__, "one of " + ", ".join(map(repr, names)))


def number(low: float, high: float, what: str, kind: type = float) -> Check:
    """
    Take a number in a range, or a variable's text of one; `kind=int` takes whole ones alone.
    """

    def check(value: Any) -> Any:
        value = kind(value) if isinstance(value, str) else value
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (is_number and low <= value <= high and kind(value) == value):
            raise ValueError
        return kind(value)

    return checked(what, check)


def count(high: int, what: str = "", unit: str = "") -> Check:
    """
    Take a whole number from 1 on.
    """
    return number(1, high, f"a whole number{unit} from 1 to {high:,}{what}", int)


def items(check: Check, what: str) -> Check:
    """
    Take a list or tuple of values that each pass, as a tuple. A text is not a list of its letters.
    """
    return checked(
        what, when(lambda value: isinstance(value, (list, tuple)), what), lambda value: tuple(map(check, value))
    )


def mapping(check: Check, what: str, key: Check | None = None) -> Check:
    """
    Take a mapping of non-empty texts to values that pass, as a dictionary.
    """
    key = text if key is None else key
    is_mapping = when(lambda value: isinstance(value, Mapping), what)
    return checked(what, is_mapping, lambda value: {key(name): check(each) for name, each in value.items()})


def having(*names: str, what: str) -> Check:
    """
    Take an object that has these attributes.
    """
    return when(lambda value: all(hasattr(value, name) for name in names), what)


def path(what: str, *, absolute: bool = False) -> Check:
    """
    Take a path, as a text; no system has one with a NUL in it.
    """
    is_path = when(lambda value: isinstance(value, (str, os.PathLike)) and os.fspath(value) != "", what)
    may_be = when(lambda value: "\0" not in str(value) and (not absolute or os.path.isabs(value)), what)
    return checked(what, is_path, os.fspath, may_be, str)


def duration(what: str, seconds_in: Callable[[Any], float] = seconds_of) -> Check:
    """
    Take a length of time, such as `"15m"` or a timedelta. A bare number is refused: its unit cannot be known.
    """

    def check(value: Any) -> Any:
        with suppress(ValueError):
            found = timedelta(seconds=seconds_in(value))
            if timedelta(0) < found <= timedelta(days=36_500):
                return found
        is_bare = isinstance(value, (int, float)) and not isinstance(value, bool)
        raise ValueError(f"{what}, since {value} may be '{value}s' or '{value}d'" if is_bare else what)

    return check


_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def flag(value: Any) -> bool:
    """
    Take True or False, or a variable's word for one.
    """
    found = _FLAGS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        is_text = isinstance(value, str)
        raise ValueError("true or false (1/0, yes/no, on/off)" if is_text else "True or False")
    return found


text = when(lambda value: isinstance(value, str) and value != "", "a non-empty string")
url_path = matching(
    r"(/[^/?#\s]+)+",
    "a URL path with a leading slash and no trailing one, such as '/metrics', or None not to mount it",
)
networks = items(
    lambda network: ipaddress.ip_network(network, strict=False), "networks such as ('10.0.0.0/8', '127.0.0.1')"
)
new_names = mapping(
    lambda name: None if name is None else text(name),
    "a mapping of names to new names (or None to leave one out), such as {'duration_ms': 'response_time'}",
    key=when(lambda name: isinstance(name, str), ""),
)


# Declaring


def setting(
    default: Any,
    check: Check,
    doc: str,
    *,
    env: Literal["text", "list", "json", ""] | None = "",
    optional: bool = False,
    secret: bool = False,
    empty_is_unset: bool = False,
    fallback: Callable[[Mapping[str, str]], Any] | None = None,
) -> Any:
    """
    Declare a setting, which is a field of a section.

    Args:
        default: The value where none is given; None may then always be given.
        check: What it accepts.
        doc: What it means, for the reference.
        env: How its variable is read; None: it has none. Default: a list where the default is a tuple, JSON where it is
            a mapping, else text.
        optional: It may be None, and its variable says `none` for it.
        secret: No message and no representation shows it, and `file:/path` reads it from a file.
        empty_is_unset: An empty variable is as if it were not there: what a deployment fills from another variable,
            such as a commit, is empty where that one is not set. Never for a token: to read an empty one as none
            would open the page.
        fallback: Finds the value where none is given, from the environment.
    """
    if env == "":
        env = "list" if isinstance(default, tuple) else "json" if isinstance(default, dict) else "text"
    metadata = {"check": check, "doc": doc, "env": env, "optional": optional, "secret": secret}
    metadata |= {"empty_is_unset": empty_is_unset, "fallback": fallback}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def section(cls: type[S]) -> type[S]:
    """
    Make a frozen dataclass of a section, with the methods of `Section` in place of generated ones, which would take
    most of the time of its import.
    """
    return dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)(cls)


@section
class Section:
    """
    The settings of one subject.

    Attributes:
        subject: Its heading in the reference.
        given: Names of those that somebody has given, as an argument or a variable.
    """

    subject: ClassVar[str]
    given: ClassVar[frozenset[str]] = frozenset()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls, subject: str = "") -> None:
        cls.subject = subject

    def __init__(self, **given: Any) -> None:
        values = {setting.name: default_of(setting) for setting in fields(self)}
        if unknown := given.keys() - values.keys():
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {min(unknown)!r}")
        self.__dict__.update(values | given)

    def __repr__(self) -> str:
        shown = (f"{setting.name}={getattr(self, setting.name)!r}" for setting in fields(self) if setting.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, setting.name) == getattr(other, setting.name) for setting in fields(self))

    __hash__ = None  # type: ignore[assignment]  # since mappings are among the values

    @classmethod
    def read(cls, given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Self:
        """
        Read arguments, variables and defaults.

        Raises:
            UnknownSettingError: An argument that is no setting.
            ConfigurationError: A value of the wrong type or range, from anywhere.
        """
        environ = os.environ if environ is None else environ
        known = {setting.name: setting for setting in fields(cls)}
        values = _from_environment(known, environ)
        for name, value in given.items():
            if name not in known:
                raise UnknownSettingError(f"there is no setting {name!r}{_nearest(name, {n: n for n in known})}")
            values[name] = _accepted(known[name], value, f"{name}={shown(known[name], value)}")
        told = frozenset(values)
        for name, setting in known.items():
            if setting.metadata["fallback"] and not values.get(name):
                values[name] = setting.metadata["fallback"](environ)
        read = cls(**values)
        read.__dict__["given"] = told
        return read


# Reading


def default_of(setting: Field[Any]) -> Any:
    """
    Return a setting's default, whichever way it is declared.
    """
    return setting.default_factory() if setting.default_factory is not MISSING else setting.default


def shown(setting: Field[Any], value: Any) -> str:
    """
    Show a value in a message: cut to 80 characters, a secret one not at all.
    """
    try:
        text = "<hidden>" if setting.metadata["secret"] else repr(value)
    except Exception:  # of a value's own, or one that is nested too deep
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def _from_environment(known: Mapping[str, Field[Any]], environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in environ.items():
        if not variable.startswith("OBSKIT_"):
            continue
        name = variable.removeprefix("OBSKIT_").lower()
        setting = known.get(name)
        if setting is None or setting.metadata["env"] is None:
            readable = {n: "OBSKIT_" + n.upper() for n, f in known.items() if f.metadata["env"]}
            warnings.warn(
                f"obskit: {variable} is set, but there is no such setting{_nearest(name, readable)}",
                stacklevel=4,
            )
        elif text or not setting.metadata["empty_is_unset"]:
            asked = f"{variable}={shown(setting, text)}"
            values[name] = _accepted(setting, _parsed(setting, text, asked), asked)
    return values


def _parsed(setting: Field[Any], text: str, asked: str) -> Any:
    if text.lower() == "none" and setting.metadata["optional"]:
        return None
    if setting.metadata["env"] == "list":
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if setting.metadata["env"] == "json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{asked}: expected a JSON object: {error}") from None
    return text


def _accepted(setting: Field[Any], value: Any, asked: str) -> Any:
    if value is None and (default_of(setting) is None or setting.metadata["optional"]):
        return None
    try:
        if setting.metadata["secret"] and isinstance(value, str) and value.startswith("file:"):
            value = _content_of(value.removeprefix("file:"))
        return setting.metadata["check"](value)
    except RecursionError:
        raise ConfigurationError(f"{asked}: expected a value that is not nested so deep, or in itself") from None
    except ValueError as error:
        cause = None if setting.metadata["secret"] else error
        raise ConfigurationError(f"{asked}: expected {error}, found {type(value).__name__}") from cause


def _content_of(path: str) -> str:
    """
    Read a secret's file, without the line end that editors leave.
    """
    what = "'file:' and the absolute path of a text file of at most 64 kB that this process may read"
    try:
        # A FIFO would hold the start up until somebody writes.
        descriptor = os.open(path if os.path.isabs(path) else "", os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)  # `open()` would leave that of a folder open
            raise ValueError(what)
        with open(descriptor, "rb") as file:
            content = file.read(SECRET_BYTES + 1)
        if len(content) > SECRET_BYTES:
            raise ValueError(what)
        return re.sub(r"\r?\n\Z", "", content.decode())
    except (OSError, ValueError):
        raise ValueError(what) from None


def _nearest(name: str, spelled: Mapping[str, str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, spelled, n=1, cutoff=0.6)
    return f"; did you mean {spelled[near[0]]!r}?" if near else "; docs/reference/settings.md lists them all"
