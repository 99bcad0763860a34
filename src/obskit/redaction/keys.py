"""
Decide by a field's name whether its value is secret.

A name is split into segments: `apiKey`, `API_KEY` and `x-api-key` have the same last two. An entry of the list is
found where its segments stand side by side, so `author` is no `auth`, and `secretary` no `secret`. Names that tell
about a secret without holding it, such as `password_changed_at` and `token_count`, are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

# Secret wherever they stand in a name: `password`, `db_password`, `password_confirmation`.
ANYWHERE = (
    *("password", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets", "credential", "credentials"),
    *("authorization", "api_key", "api_keys", "private_key", "access_key", "secret_key", "signing_key"),
    *("encryption_key", "master_key", "account_key", "shared_key", "storage_key", "session_key", "session_id"),
    *("connection_string", "seed_phrase", "recovery_codes", "backup_codes", "phpsessid", "jsessionid", "sessid"),
    *("shared_access_signature", "passwort", "kennwort", "contraseña", "senha", "security_code", "cc_number"),
    *("card_number", "card_no", "credit_card", "card_pin", "cvv", "cvc", "cvv2", "ssn", "social_security"),
    *(f"{of}_pass" for of in ("admin", "database", "db", "ftp", "mail", "mysql", "redis", "smtp", "user")),
)
# Secret at the end of a name only: `access_token` but not `token_type`, `set-cookie` but not `cookie_consent`.
AT_END = (
    *("token", "access_tokens", "refresh_tokens", "bearer", "jwt", "otp", "otp_code", "totp", "csrf", "xsrf"),
    *(
        f"{of}_key"
        for of in ("openai", "anthropic", "azure", "gemini", "mailgun", "sendgrid", "stripe", "deploy", "license")
    ),
    *("auth_header", "mfa_code", "two_factor_code"),
    *("cookie", "cookies", "auth_key", "ssh_key", "hmac_key", "subscription_key", "functions_key"),
)
# Secret as the whole name only: short words that mean something else in company.
WHOLE_NAME = ("auth", "sid", "proxy_auth", "http_auth", "basic_auth")
# Secret in the query of a URL, beside all others: what signs it, or is traded for a token.
QUERY_ONLY = ("code", "key", "pass", "sig", "signature", "hmac", "x_amz_signature", "x_goog_signature")

# Words that describe a secret without holding it: there is nothing to hide where they end a name, ...
_DESCRIPTIVE_SUFFIXES = frozenset(
    [
        *(
            "count",
            "counts",
            "total",
            "used",
            "usage",
            "limit",
            "limits",
            "remaining",
            "length",
            "len",
            "size",
            "bytes",
        ),
        *("at", "date", "time", "age", "ttl", "expires", "expiry", "expiration", "expired", "expire", "timeout"),
        *("type", "kind", "id", "ids", "name", "names", "version", "arn", "algorithm", "alg", "format", "scheme"),
        *("enabled", "disabled", "required", "valid", "invalid", "verified", "changed", "present", "missing", "set"),
        *("policy", "strength", "score", "min", "max", "rotation", "rotated", "status", "state", "error", "errors"),
        *("path", "file", "filename", "dir", "url", "uri", "endpoint", "domain", "samesite", "secure", "httponly"),
        *("field", "label", "hint", "brand", "provider", "manager", "store", "backend", "class", "index", "prefix"),
        *("ms", "seconds", "duration", "hits", "failures", "attempts", "requests", "window", "source", "scope"),
        *("check", "result", "results", "reason", "bytes"),
    ]
)
# ... and where they start one.
_DESCRIPTIVE_PREFIXES = frozenset(
    ["is", "has", "had", "use", "uses", "num", "n", "max", "min", "needs", "requires", "allow", "count"]
)
# Tokens of language models: `time_to_first_token`, `cost_per_token`, `eos_token`.
_MODEL_TOKEN_WORDS = frozenset(["per", "first", "last", "eos", "bos", "pad", "unk", "stop", "mask"])
# Names that end like this are several words in one: `userpassword`, `AUTHTOKEN`.
_JOINED_SUFFIX = re.compile(
    r"(?:password|passwd|passphrase|secret|token|apikey|privatekey|accesskey|secretkey|sessionid)\Z"
)
_segments = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W0-9A-Za-z_]+")

# Longer names are judged by their end; no name that people chose is so long.
_MAX_NAME_LENGTH = 256
# Limits of the cache of names, since an application may generate names.
MAX_CACHED_NAMES = 4096
_MAX_CACHED_NAME_LENGTH = 64


def segments(name: str) -> tuple[str, ...]:
    """
    Split a name into lower-case words: at punctuation, at digits, and at camel-case boundaries.
    """
    return tuple(part.lower() for part in _segments.findall(name[-_MAX_NAME_LENGTH:]))


class SecretKeys:
    """
    The rules for field names. Immutable, and so thread-safe.
    """

    def __init__(self, added: Iterable[str] = (), *, query: bool = False) -> None:
        self._anywhere = _table([*ANYWHERE, *added])
        self._at_end = _table(AT_END)
        self._whole = _table([*WHOLE_NAME, *(QUERY_ONLY if query else ())])
        self._longest = max(map(len, self._anywhere))

    def rule(self, name: str) -> str | None:
        """
        Return the entry of the list that matches a name; None where its value is not a secret.
        """
        parts = segments(name)
        if not parts:
            return None
        found = self._whole.get(parts) or self._anywhere.get(parts)
        if found is not None or parts[0] in _DESCRIPTIVE_PREFIXES:
            return found
        if parts[-1] in _DESCRIPTIVE_SUFFIXES and not self._ends_in_secret(parts):
            return None
        return self._match_anywhere(parts) or self._match_end(parts)

    def _ends_in_secret(self, parts: tuple[str, ...]) -> bool:
        # `user_session_id` ends in a word that elsewhere tells about a secret.
        return any(parts[-length:] in self._anywhere for length in range(2, self._longest + 1))

    def _match_anywhere(self, parts: tuple[str, ...]) -> str | None:
        for length in range(min(self._longest, len(parts)), 0, -1):
            for start in range(len(parts) - length + 1):
                if (found := self._anywhere.get(parts[start : start + length])) is not None:
                    return found
        return None

    def _match_end(self, parts: tuple[str, ...]) -> str | None:
        if len(parts) > 1 and parts[-2] in _MODEL_TOKEN_WORDS:
            return None
        for start in range(len(parts)):
            if (found := self._at_end.get(parts[start:])) is not None:
                return found
        long = _JOINED_SUFFIX.search(parts[-1])
        return long[0] if long else None


# Fields that are judged by their siblings, or by a form of their own.
CONTEXTUAL_NAMES = frozenset(["value", "netloc"])


class RuleCache(dict[str, str | None]):
    """
    A cache of the rule of each name, since it is looked up for every field of every line.

    Attributes:
        harmless: Names without a rule, and without a secret in themselves.
        text: Redacts a name by value.
    """

    text: Callable[[str], str]

    def __init__(self, keys: SecretKeys) -> None:
        self._keys = keys
        self.safe_names: set[str] = set()

    def __missing__(self, name: str) -> str | None:
        rule = None if "[redacted:" in name else self._keys.rule(name)
        if len(name) <= _MAX_CACHED_NAME_LENGTH:
            if len(self) >= MAX_CACHED_NAMES:
                self.clear()
                self.safe_names.clear()
            self[name] = rule
            if rule is None and name not in CONTEXTUAL_NAMES and self.text(name) is name:
                self.safe_names.add(name)
        return rule


def _table(names: Iterable[str]) -> dict[tuple[str, ...], str]:
    """
    Index each entry by its segments, and by all of them as one word: `api_key` matches `apikey` too.
    """
    table = {}
    for name in names:
        parts = segments(name)
        if parts:
            table["".join(parts),] = table[parts] = "_".join(parts)
    return table
