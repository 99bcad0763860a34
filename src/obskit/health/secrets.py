"""
The former name of `safe_details`.
"""

from __future__ import annotations

from obskit.health.safe_details import redacted, without_secrets

__all__ = ["redacted", "without_secrets"]
