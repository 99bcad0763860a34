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
    Values that no provider can have meant.
    """


class ObjectFields:
    """
    An SDK's object, read like the JSON that it was made from.
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
        Whether it is a data model: reading attributes of any other object may have side effects.
        """
        return hasattr(type(self._thing), "model_fields")


JsonFields = dict[str, Any] | ObjectFields
JSON_FIELDS_TYPES = (dict, ObjectFields)


def fields_of(thing: Any) -> JsonFields:
    """
    Return the fields of a dict or an object, readable by name.
    """
    return thing if isinstance(thing, JSON_FIELDS_TYPES) else ObjectFields(thing)


def nested(mapping: JsonFields | None, *names: str) -> JsonFields | None:
    """
    Return the fields at a path; None if a part of it is missing or has no fields.
    """
    found: Any = mapping
    for name in names:
        if not isinstance(found, JSON_FIELDS_TYPES):
            return None
        found = found.get(name)
    return found if isinstance(found, JSON_FIELDS_TYPES) else None


def has_only(usage: JsonFields, names: frozenset[str]) -> TypeGuard[dict[str, Any]]:
    """
    Return whether usage has only the common fields: most has, and looking for the others takes longer than all else.
    """
    return isinstance(usage, dict) and usage.keys() <= names


def count(value: Any) -> int:
    """
    Return a count; None counts as 0.

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
    Return a count; None if it is not reported.

    Raises:
        Unreadable: It is told, and is no count.
    """
    value = usage.get(name)
    return None if value is None else count(value)


def detail(found: Usage, details: JsonFields, name: str) -> int:
    """
    Return a detail; an impossible one counts as 0 and makes the usage doubtful.
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
    Set how much was written to the one-hour and five-minute caches. Their sum is what is billed.
    """
    if hour + minutes > found.cache_write:
        found.is_doubtful = True
    found.cache_write_1h = min(hour, found.cache_write)


def set_no_cached_modalities(found: Usage) -> None:
    """
    Set the cached parts by modality to 0: the reply splits them, so a missing one is none, not unknown.
    """
    found.audio_read = found.image_read = found.video_read = 0


def drop_impossible_details(found: Usage) -> None:
    """
    Remove parts that are larger than their whole; this makes the usage doubtful.
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
