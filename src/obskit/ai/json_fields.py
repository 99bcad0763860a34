"""
Take figures from JSON, or from an SDK's object, and refuse what no provider can have meant.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from obskit.ai.token_kinds import Usage

# More than any model's context; what is above was not read from a provider.
MAX_TOKENS = 1_000_000_000
_PLAIN = (str, int, float, list, dict)


class Unreadable(ValueError):
    """
    Report figures that no provider can have meant.
    """


class ObjectFields:
    """
    Read an SDK's object as the JSON that it was made from.
    """

    __slots__ = ("_thing",)

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def get(self, name: str) -> Any:
        value = getattr(self._thing, name, None)
        return value if value is None or isinstance(value, _PLAIN) else ObjectFields(value)

    def __contains__(self, name: str) -> bool:
        return hasattr(self._thing, name)

    @property
    def is_model(self) -> bool:
        """
        Tell whether it is a record, whose attributes are data: asking any other object may set something off.
        """
        return hasattr(type(self._thing), "model_fields")


JsonFields = dict[str, Any] | ObjectFields
JSON_FIELDS_TYPES = (dict, ObjectFields)


def fields_of(thing: Any) -> JsonFields:
    """
    Make anything readable by the names of its fields.
    """
    return thing if isinstance(thing, JSON_FIELDS_TYPES) else ObjectFields(thing)


def nested(mapping: JsonFields | None, *names: str) -> JsonFields | None:
    """
    Go down into what is mapped; None where it is not, or not there.
    """
    found: Any = mapping
    for name in names:
        if not isinstance(found, JSON_FIELDS_TYPES):
            return None
        found = found.get(name)
    return found if isinstance(found, JSON_FIELDS_TYPES) else None


def has_only(usage: JsonFields, names: frozenset[str]) -> TypeGuard[dict[str, Any]]:
    """
    Tell whether usage has nothing but what all have: most has not, and looking for the rest takes longer than all else.
    """
    return isinstance(usage, dict) and usage.keys() <= names


def count(value: Any) -> int:
    """
    Take a count; nothing is 0.

    Raises:
        Unreadable: It is none.
    """
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    if value is None:
        return 0
    if type(value) is float and 0 <= value <= MAX_TOKENS and value.is_integer():
        return int(value)
    raise Unreadable(value)


def optional_count(usage: JsonFields, name: str) -> int | None:
    """
    Take one of the figures that all others hang on; None where it is not told.

    Raises:
        Unreadable: It is told, and is no count.
    """
    value = usage.get(name)
    return None if value is None else count(value)


def detail(found: Usage, details: JsonFields, name: str) -> int:
    """
    Take a detail: one that cannot be right is left out, and makes what was found doubtful.
    """
    value = details.get(name)
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    try:
        return count(value)
    except Unreadable:
        found.is_doubtful = True
        return 0


def set_cache_durations(found: Usage, hour: int, minutes: int) -> None:
    """
    Take how long is kept what was written to a cache: an hour, or five minutes. The sum is what is billed.
    """
    if hour + minutes > found.cache_write:
        found.is_doubtful = True
    found.cache_write_1h = min(hour, found.cache_write)


def set_no_cached_modalities(found: Usage) -> None:
    """
    Note that what was read from a cache is told by its kinds: those that are not named are none of it, and not unknown.
    """
    found.audio_read = found.image_read = found.video_read = 0


def drop_impossible_details(found: Usage) -> None:
    """
    Leave out parts that are more than their whole, which makes what was found doubtful.
    """
    if found.reasoning > found.output:
        found.reasoning, found.is_doubtful = found.output, True
    for names, most in (
        (("audio_input", "image_input", "video_input"), found.input + found.cache_read + found.cache_write),
        (("audio_output", "image_output", "video_output"), found.output),
        (("audio_read", "image_read", "video_read"), found.cache_read),
    ):
        if sum(getattr(found, name) for name in names) > most:
            for name in names:
                if getattr(found, name):
                    setattr(found, name, 0)
            found.is_doubtful = True
    text, text_read = found.input + found.cache_read + found.cache_write, found.cache_read
    for modality in ("audio", "image", "video"):
        read = getattr(found, f"{modality}_read")
        if read > getattr(found, f"{modality}_input"):  # what comes from a cache is taken in as well
            setattr(found, f"{modality}_input", read)
            found.is_doubtful = True
        text, text_read = text - getattr(found, f"{modality}_input"), text_read - read
    if text_read > text and "audio_read" in (found.sparse or ()):
        found.is_doubtful = True
