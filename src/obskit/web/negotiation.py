"""
Read `Accept` and `Accept-Encoding`. The metrics page's `Accept` is read where `prometheus_client` chooses its encoder.
"""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str, offered: Sequence[str]) -> str | None:
    """
    Return the offered media type that the client likes best, of equals the first; None where it takes none of them.
    """
    qualities = _qualities(accept)

    def quality(media_type: str) -> float:
        family = media_type.partition("/")[0] + "/*"
        return next((qualities[name] for name in (media_type, family, "*/*") if name in qualities), 0.0)

    best = max(offered, key=quality)
    return best if quality(best) > 0 else None


def accepts(header: str, coding: str) -> bool:
    """
    Return whether a client takes a content coding such as gzip.
    """
    qualities = _qualities(header)
    return qualities.get(coding, qualities.get("*", 0.0)) > 0


def _qualities(header: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in header.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            found[name] = float(quality)
        except ValueError:
            found[name] = 0.0
    return found
