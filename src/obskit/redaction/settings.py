"""
What is secret.
"""

from __future__ import annotations

from obskit.fields import Section, flag, items, section, setting, text

_key_names = items(text, "names of fields such as ('iban', 'birth_date')")


@section
class RedactionSettings(Section, subject="Secrets"):
    """
    What is secret in lines and replies.
    """

    redact_keys: tuple[str, ...] = setting(
        (), _key_names, "Names of fields whose values are secret, added to the default list."
    )
    redact_values: bool = setting(
        True,
        flag,
        "Look for secrets in values too: bearer tokens, JWTs, card numbers, passwords in URLs, keys of clouds.",
    )
