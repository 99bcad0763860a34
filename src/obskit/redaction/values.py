"""
Find secrets by their form, in any text.

A search costs time in every line, so the signs of a text decide first which rules may apply, and most texts end there.
No rule looks at a character more often than a fixed number of times, whatever the text.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from urllib.parse import unquote

from obskit.late_patterns import late
from obskit.redaction.driver_errors import redact_quoted_values
from obskit.redaction.keys import MAX_CACHED_NAMES, RuleCache
from obskit.redaction.signs import DIGIT, LONG_ENOUGH, MIN_CARD_DIGITS, TO_SIGNS, Plans, sieve
from obskit.redaction.text_truncation import MAX_TEXT, redact_with_mark

# Shorter text cannot hold a secret together with what gives it away: `pwd=abc`.
MIN_SECRET_LENGTH = 7
# A card number has 13 digits to 19.
MIN_CARD_NUMBER, CARD_NUMBER_LIMIT = 10 ** (MIN_CARD_DIGITS - 1), 10**19


def marker(rule: str) -> str:
    """
    Return the replacement of a secret: the name of the rule, never the value.
    """
    return f"[redacted:{rule}]"


_marked = late(r"\W{0,2}\[redacted:([\w-]+)\]")


def is_marker(text: str) -> bool:
    """
    Return whether a value is redacted already.
    """
    return _marked.match(text) is not None


def rule_in(text: str) -> str | None:
    """
    Return the rule of the first marker in a text, or None.
    """
    found = _marked.search(text)
    return found[1] if found else None


# Tokens that say what they are: first a cheap look at what stands before a sign, then their patterns. Most signs have
# something else before them, and end the look at the first letter.
_AFTER_DASH = (
    r"(?:(?<=[ikptxXY-]-)(?:(?<=sk-)|(?<=xapp-)|(?<=GOCSPX-)|(?<=----)|(?<=(?:xai|pat|ptt)-)|(?<=gl[dr]t-)|(?<=glcbt-)"
    r"|(?<=glsoat-)|(?<=pplx-)|(?<=pypi-)|(?<=SECRET-KEY-))|(?<=xox[a-z]-))"
)
_dashed = re.compile(f"-{_AFTER_DASH}").search
_dashed_or_option = re.compile(f"-(?:(?<=--)|{_AFTER_DASH})").search
_underlined = re.compile(
    r"_(?:(?<=gh[pousr]_)|(?<=pat_)|(?<=[sr]k_)|(?<=whsec_)|(?<=hf_)|(?<=(?:npm|ntn|sbp)_)|(?<=r8_)|(?<=dop_v1_)"
    r"|(?<=lin_api_)|(?<=sntry[su]_))"
).search


# A token takes along what touches it: a second one behind it would come to light only when the first has gone.
def _tokens(*patterns: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((marker(rule), late(pattern)) for rule, pattern in patterns)


# What it may not stand behind is what it is made of: so no part of a long word is gone through for each `eyJ` in it.
_WITH_J = _tokens(("jwt", r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}(?:\.{1,2}[A-Za-z0-9_-]+){1,4}"))
_WITH_I = _tokens(("aws", r"A[KS]IA[A-Z0-9]{16}"), ("google", r"AIza[\w-]{35}"))
_WITH_UNDERLINE = _tokens(
    ("github", r"gh[pousr]_\w{20,}|github_pat_\w{20,}"),
    ("stripe", r"(?<![A-Za-z0-9])[sr]k_(?:live|test)_\w{10,}|whsec_[\w+/=]{16,}"),
    ("hugging_face", r"(?<![A-Za-z0-9])hf_\w{30,}"),
    ("npm", r"(?<![A-Za-z0-9])npm_\w{36,}"),
    # Groq, Replicate
    ("api_key", r"(?<![A-Za-z0-9])(?:gsk_\w{40,}|r8_\w{37,})"),
    # DigitalOcean, Docker, Linear, Notion, Sentry, Shopify, Supabase
    (
        "token",
        r"(?<![A-Za-z0-9])(?:dop_v1_\w{64,}|dckr_pat_[\w-]{20,}|lin_api_\w{30,}|ntn_\w{40,}"
        r"|sntry[su]_[\w+/=]{40,}|shp(?:at|ca|pa|ss)_\w{32,}|sbp_\w{40,})",
    ),
)
_KEY_NAME = "[A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
_WITH_BEGIN = _tokens(
    ("private_key", rf"-----BEGIN {_KEY_NAME}(?s:.)*?(?:-----END {_KEY_NAME}|\Z)"),
)
_WITH_DASH = _tokens(
    ("private_key", r"AGE-SECRET-KEY-1[\w-]{40,}"),
    ("slack", r"(?:xoxe\.)?xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}"),
    ("gitlab", r"gl(?:pat|ptt|dt|rt|cbt|soat)-[\w-]{20,}"),
    ("google", r"GOCSPX-[\w-]{20,}"),
    # OpenAI, Anthropic and those that follow them, with no `task-` or `desk-`; xAI, Perplexity
    (
        "api_key",
        r"(?<![A-Za-z0-9_-])(?:sk-ant-[\w-]{6,}|sk-(?=[\w-]{0,60}\d)[\w-]{20,}|(?:xai|pplx)-[\w-]{40,})",
    ),
    ("pypi", r"pypi-[\w-]{50,}"),
)
# These have a full stop or a slash where others have a sign. All texts have such, so it does not pass the sieve; what
# does is a digit or two with one of the other signs, which tokens of this length have.
_WITH_STOP = _tokens(
    ("google", r"(?<![A-Za-z0-9])ya29\.[\w-]{20,}"),
    ("sendgrid", r"(?<![A-Za-z0-9])SG\.[\w-]{16,}\.[\w-]{30,}"),
    ("vault", r"(?<![A-Za-z0-9])hvs\.[\w-]{24,}"),
)
_refresh = late(r"(?<!\w)1//0[\w-]{30,}")
_AS_REFRESH = marker("google")
# URLs and names that hold a token in their path.
_hook = late(
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/\d{5,25}/)"
    r"[\w/-]{20,}"
)
_IN_HOOK = r"\1[redacted:webhook]"
_telegram = late(r"(?<!\d)(\d{8,12}:)AA[\w-]{30,}")
_AS_TELEGRAM = r"\1[redacted:telegram]"
# After these words; others than a token's follow them in prose.
_bearer = late(r"(?i)\b(bearer\s+)(?!\[redacted:)((?=[\w.~+/=-]{0,200}\d)[\w.~+/=-]{6,}|[\w.~+/=-]{16,})")
_AFTER_BEARER = r"\1[redacted:bearer]"
_basic = late(r"(?i)\b(basic\s+)([a-z0-9+/_-]{8,}={0,2})")
# Passwords of web addresses hold no slash; those of other services may, and then are bounded.
_web = late(r"(://[^\s:/?#@\"'<>]{0,256}:)(?!\[redacted:|\*+@)[^\s/?#\"'<>]{1,1024}@")
_service = late(
    r"(?i)\b((?!https?:|wss?:)[a-z][a-z0-9+.-]{1,30}://[^\s:/@\"'<>]{0,256}:)(?!\[redacted:|\*+@)[^\s\"'<>]{1,256}@"
)
_IN_URL = r"\1[redacted:url_password]@"
# What touches a token that has become a marker may show itself only then.
_MAX_PASSES = 4
# In one piece, or in the groups that are printed on cards.
_card = re.compile(
    r"[2-6](?<![\w.-].)(?<!\d .)"
    r"(?:\d{12,18}|\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{3}([ -])\d{6}\2\d{4,5})"
    r"(?![\w-]|\.\d| \d)"
)

# Where something is said to be something, and what is said: `password=x`, `"password": "x"`, `Password: x`.
_MAX_NAME_DISTANCE = 72  # a name starts within this many characters before the sign
_MAX_HARMLESS_LENGTH = 64
# Texts such as URLs recur, and take the longest look.
_MAX_CLEAN_LENGTH = 128
_already = late(r"(?<=[=:])(?:=|(?<=:)//|>?[ \t]*[\"'\\\[{]{0,4}\[redacted:)")
_name_backwards = late(r"[ \t]?[\"'\]\\]{0,4}(\d{0,3}[^\W\d][\w.-]{1,63})")
_quoted = late(
    r"""(?<=[=:])>?[ \t]*[bu]?(?:(\\{1,3}["'])((?s:.)*?)(?:(?<!\\)\1|\Z)|"((?:[^"\\\n]|\\.)*+)|'((?:[^'\\\n]|\\.)*+))"""
)
_listed = late(r"(?<=[=:])>?[ \t]*[\[{]([^\[\]{}\n]+)(?=[\]}]|\Z)")
# To the end of a word; beyond a sign that passwords have, where what follows is no field of its own and no tag.
_run = r"(?:[{}()\[\].]*+[^\s,;&\"'<>{}()\[\].]++)"
_bare = late(
    rf"(?<=[=:])>?[ \t]*({_run}*+(?:(?<!\s)[,;&<](?!/?\w+/?>)(?=[^\s,;&\"'<>=:]+(?:[\s,;&\"'<>]|\Z)){_run}++)*+)"
)
# The doubled brace of ODBC: `PWD={a}}b}`; and a block of YAML: what is indented behind `password: |`.
_braced = late(r"(?<==)[ \t]*\{((?:[^}\n]|\}\}){1,128}+)\}(?![^;\s\"'])")
_block = late(r"(?<=:)[ \t]*[|>][+-]?\d?[+-]?[ \t]*\n((?:\n*+[ \t]++[^\n]++)++)")
# A pair of a list, as forms and headers show themselves: `[('password', 'x')]`; an option and its value: `'-p', 'x'`.
_literal = r"""(?:b?"(?:[^"\\\n]|\\.)*+"?|b?'(?:[^'\\\n]|\\.)*+'?|\[[^\[\]\n]*+\]?)"""
_pair = late(rf"""(?:(?<=\[\()|(?<=, \())(b?(["'])([\w.-]{{2,64}})\2, )({_literal})""")
_flag = late(rf"""((["'])--?([A-Za-z][\w-]{{1,40}})\2, )({_literal})""")
# <password>x</password>
_tag = late(r"<(?:[\w.-]{1,40}:)?([\w.-]{2,64})(?:\s[^<>\n]{0,256})?>\s*+(?:<!\[CDATA\[)?+([^<>]++)(?=</|>)")
# Of `urlsplit()`: netloc='user:x@host'
_netloc = late(r"(\bnetloc=b?['\"][^'\":@\s/]{0,256}:)(?!\[redacted:)[^'\"@\s]{1,1024}@")
_word = late(r"[^\s&\"'<>=?;,]+")
_MAX_DECODINGS = 3  # of encoding, that are taken off
_rest_of_line = late(r"(?<=[=:])>?[ \t]*([^\r\n\"']*[^\r\n\"'\s]|)")
_option = late(r"(?<!\S)--([A-Za-z][\w-]{1,40})[ \t]++(?!-)([^\s\"']+)")
# These have several words as their value.
_HEADERS = frozenset(["authorization", "cookie", "cookies"])
# What stands where a secret would, and is none.
_PLACEHOLDERS = frozenset(
    ["none", "null", "nil", "true", "false", "undefined", "str", "bytes", "int", "bool", "optional", "secretstr", "any"]
)
_placeholder_pattern = late(r"[*.•]+|x{3,}|%[sr]|%\(\w+\)s|\$\{?\w+\}?|:\w+|\{\w*\}?|\W{1,2}|-+")
_secret_like = late(r"(?=.*\d)(?=.*[^\W\d]).{6,}|(?=.*[a-z])(?=.*[A-Z]).{8,}|.{20,}|.*[^\w.,:;!?()'\"-].*")


class SecretValues:
    """
    A redactor of text by the form of secrets. Thread-safe.

    Args:
        known: The rule of each field name, None for names that are no secret.
        in_query: The same for names in the query of a URL.

    Attributes:
        text: Replaces each secret by a marker; a text without any is returned as it is, and one of more than MAX_TEXT
            is truncated.
    """

    def __init__(self, known: RuleCache, in_query: RuleCache) -> None:
        self._rules = known
        self._query_rules = in_query
        self.text = self._sieved_text()
        self._harmless_words: set[str] = set()  # before a sign: they end in no name, or in that of no secret

    def _sieved_text(self) -> Callable[[str], str]:
        plans = Plans({"0": _card.search, "-": _dashed_or_option, "_": _underlined, ":=": self._may_assign})
        clean_texts: set[str] = set()
        redact = self.text_of_any_length

        # Every text of a line comes here.
        def text_of(text: str) -> str:
            length = len(text)
            if not MIN_SECRET_LENGTH <= length <= MAX_TEXT:
                return text if length < MIN_SECRET_LENGTH else redact_with_mark(text, MAX_TEXT, redact)
            try:
                sieved = b"".join(text.encode().translate(TO_SIGNS).split())
            except UnicodeEncodeError:  # half of a surrogate pair
                sieved = sieve(text)
            if "earer" in text or "asic" in text:
                return redact(text)
            if not sieved or (sieved.isdigit() and len(sieved) < MIN_CARD_DIGITS):
                return text
            harmless, hints, all_hints, searches, recurs = plans[sieved]
            if (harmless is not None and harmless(text)) or (recurs and text in clean_texts):
                return text
            for hint in hints if length < LONG_ENOUGH else all_hints:
                if hint in text:
                    return redact(text)
            for find in searches:
                if find(text):
                    return redact(text)
            if recurs and length <= _MAX_CLEAN_LENGTH:
                _remember(text, clean_texts)
            return text

        return text_of

    def text_of_any_length(self, text: str) -> str:
        """
        Redact a text of any length by all rules.
        """
        return self._redact(text)

    def _redact(self, text: str, bare: bool = True) -> str:
        has_card = sieve(text).count(DIGIT) >= MIN_CARD_DIGITS
        for _ in range(_MAX_PASSES):
            shown = self._redact_once(text, has_card, bare)
            if shown == text:
                break
            text = shown
        return text

    def _redact_once(self, text: str, has_card: bool, bare: bool) -> str:
        # First what has blanks in it: its first word may be a value.
        if "-----BEGIN " in text:
            text = _replace_tokens(_WITH_BEGIN, text)
        if has_card:
            text = _card.sub(_card_marker, text)
        if "'" in text or "(" in text or "{" in text or "nvalid input" in text:
            text = redact_quoted_values(text, in_source=not bare)
        if "'" in text or '"' in text:
            if "('" in text or '("' in text or "(b'" in text:
                text = _pair.sub(self._pair, text)
            if "'-" in text or '"-' in text:
                text = _flag.sub(self._pair, text)
        if "</" in text:
            text = _tag.sub(self._tag, text)
        if "%3" in text or "%25" in text:
            text = _word.sub(self._encoded, text)
        if "@" in text:
            if "://" in text:
                text = _service.sub(_IN_URL, _web.sub(_IN_URL, text))
            if "netloc=" in text:
                text = _netloc.sub(_IN_URL, text)
        if ":" in text:
            if "ook" in text:
                text = _hook.sub(_IN_HOOK, text)
            if ":AA" in text:
                text = _telegram.sub(_AS_TELEGRAM, text)
            text = self._redact_assignments(text, bare)
        elif "=" in text:
            text = self._redact_assignments(text, bare)
        if "earer" in text or "EARER" in text or "asic" in text:
            text = _basic.sub(_basic_marker, _bearer.sub(_AFTER_BEARER, text))
        if "eyJ" in text:
            text = _replace_tokens(_WITH_J, text)
        if "IA" in text or "AIza" in text:
            text = _replace_tokens(_WITH_I, text)
        if "_" in text and _underlined(text) is not None:
            text = _replace_tokens(_WITH_UNDERLINE, text)
        if "." in text and ("ya29." in text or "hvs." in text or "SG." in text):
            text = _replace_tokens(_WITH_STOP, text)
        if "1//0" in text:
            text = _refresh.sub(_AS_REFRESH, text)
        if "-" in text:
            if "--" in text:
                text = _option.sub(self._option, text)
            if _dashed(text) is not None:
                text = _replace_tokens(_WITH_DASH, text)
        return text

    def source_code(self, text: str) -> str:
        """
        Redact source code, where a name that is assigned another name is not a secret: `password = form.password`.
        """
        return self._redact(text, bare=False)

    def _may_assign(self, text: str) -> bool:
        """
        Return whether a value may be assigned to a secret name.
        """
        known = self._harmless_words
        parts = text.replace(":", "=").split("=")
        parts.pop()
        for part in parts:
            word = part.rpartition(" ")[2]
            if word not in known and not word.isdigit() and word.rpartition("?")[2] not in known:
                return self._redact_assignments(text, True) is not text
        return False

    def _redact_assignments(self, text: str, bare: bool) -> str:
        """
        Redact the values that are assigned to secret names.
        """
        shown: list[str] = []
        done, at, rules, known = 0, -1, self._query_rules, self._harmless_words
        parts = text.replace(":", "=").split("=")
        parts.pop()
        for part in parts:
            at += len(part) + 1
            word = part.rpartition(" ")[2]
            if word in known or word.isdigit():
                continue  # most are, and have no need of the following
            word = _after_parameters(word)
            name = _name_backwards.match(part[:-_MAX_NAME_DISTANCE:-1])
            if name is None or (rule := rules[name[1][::-1]]) is None:
                if word and len(word) <= _MAX_HARMLESS_LENGTH:  # what is looked at of a text is the word, and no more
                    _remember(word, known)
                continue
            if at < done:
                continue
            # The value is looked at last: one that is hidden is gone through once, whatever stands in it.
            if self._is_secret_here(text, at, name) and (span := _value_at(text, at, rule, bare)) is not None:
                shown += [text[done : span[0]], marker(rule)]
                done = span[1]
        return "".join([*shown, text[done:]]) if shown else text

    def _is_secret_here(self, text: str, at: int, name: re.Match[str]) -> bool:
        start = at - name.end()
        if self._rules[name[1][::-1]] is None:
            return text.endswith(("?", "&"), 0, start)  # it is secret in a query string only
        return not text.endswith("[redacted:", 0, start)

    def _pair(self, found: re.Match[str]) -> str:
        rule = self._rules[found[3]]
        if rule is None or is_marker(found[4]) or _is_placeholder(found[4].strip("b'\"[]")):
            return found[0]
        return f"{found[1]}'{marker(rule)}'"

    def _tag(self, found: re.Match[str]) -> str:
        rule = self._rules[found[1]]
        if rule is None or is_marker(found[2]) or _is_placeholder(found[2].strip()):
            return found[0]
        return found[0][: found.start(2) - found.start()] + marker(rule)

    def _encoded(self, found: re.Match[str]) -> str:
        plain = found[0]
        if "%" not in plain:
            return plain
        for _ in range(_MAX_DECODINGS):
            plain = unquote(plain)
        if "%3" in plain or "%25" in plain:  # it has more layers than anybody writes
            plain = plain.replace("%", "")
        shown = self._redact_once(plain, sieve(plain).count(DIGIT) >= MIN_CARD_DIGITS, bare=True)
        return found[0] if shown == plain else marker(rule_in(shown) or "url")

    def _option(self, found: re.Match[str]) -> str:
        rule = self._rules[found[1]]
        if rule is None or is_marker(found[2]):
            return found[0]
        return found[0][: found.start(2) - found.start()] + marker(rule)


def _remember(text: str, known: set[str]) -> None:
    if len(known) >= MAX_CACHED_NAMES:
        known.clear()
    known.add(text)


def _after_parameters(word: str) -> str:
    """
    Return what stands behind the signs of a query string, beyond which no name goes.
    """
    return word.rpartition("?")[2].rpartition("&")[2]


def _value_at(text: str, at: int, rule: str, bare: bool) -> tuple[int, int] | None:
    """
    Return the span of the value that follows the sign at `at`; None where there is nothing to redact.
    """
    start = at + 1
    if _already.match(text, start):
        return None  # a marker, a comparison, a URL
    quoted = _block.match(text, start) or _braced.match(text, start)
    quoted = quoted or _quoted.match(text, start) or _listed.match(text, start)
    if quoted is not None:
        index = quoted.lastindex or 0
        # The last group is the value, but for `\"`, whose first is the quote.
        value = quoted[index]
        return quoted.span(index) if value and not _is_placeholder(value) else None
    if not bare:
        return None
    found = (_rest_of_line if rule in _HEADERS else _bare).match(text, start)
    if found is None or not found[1] or _is_placeholder(found[1]):
        return None
    if text[at] == ":" and rule not in _HEADERS and not _is_data_not_prose(text, found):
        return None
    return found.span(1)


def _is_placeholder(value: str) -> bool:
    return value.lower() in _PLACEHOLDERS or _placeholder_pattern.fullmatch(value) is not None


def _is_data_not_prose(text: str, found: re.Match[str]) -> bool:
    """
    Return whether this is `password: hunter2`, and not prose such as `password: must be longer`.
    """
    after = text[found.end() : found.end() + 2].lstrip(" \t")
    return not after or after[0] in "\r\n,;})]" or _secret_like.fullmatch(found[1]) is not None


def _replace_tokens(tokens: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> str:
    for put, pattern in tokens:
        text = pattern.sub(put, text)
    return text


def _basic_marker(found: re.Match[str]) -> str:
    encoded = found[2].rstrip("=")
    try:
        decoded = binascii.a2b_base64(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return found[0]
    return found[1] + marker("basic") if ":" in decoded and decoded.isprintable() else found[0]


# Shorter and longer numbers than 16 digits are of few issuers; so an IMEI is no card.
_CARD_PREFIXES = {13: ("4",), 14: ("30", "36", "38", "39"), 15: ("34", "37"), 17: ("5", "6"), 18: ("5", "6")}


def _card_marker(found: re.Match[str]) -> str:
    digits = [int(digit) for digit in found[0] if digit.isdigit()]
    starts = _CARD_PREFIXES.get(len(digits))
    if len(digits) > 19 or (starts is not None and not found[0].startswith(starts)):
        return found[0]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return marker("card") if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else found[0]
