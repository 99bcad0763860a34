"""
Take the literals and the comments out of a statement, by the lexical rules of its dialect.

What is kept is what a rule of the dialect says is no literal; all else is masked. Where it is in doubt whether a
literal has ended, the rest of the statement is masked: it might be the literal's own text. That is so where a literal
is not closed, and where a backslash before the quote escapes it in one mode of the server and not in another.

The rules are those of the manuals of PostgreSQL 18 (4.1), SQLite 3.51 (lang_expr) and MySQL 9 (11.1, 11.7), and of
"Sanitization of db.query.text" in the OpenTelemetry semantic conventions of 2026-08-20: a sign before a number goes
with it, booleans are literals, and a list in an IN becomes one `?`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

# What follows on the mark of a comment that says how a statement is to be carried out.
_HINTS = "!+M"
# How deep PostgreSQL's nested comments are followed; a deeper one hides the rest of its statement.
_COMMENT_DEPTH = 6

_WORD = r"[^\W\d][\w$]*+"
_BOOLEAN = r"(?:[tT][rR][uU][eE]|[fF][aA][lL][sS][eE])(?![\w$])"
# What is glued to a number goes with it: 0xFF, 1_000, 12e-3, 1abc.
_NUMBER = r"[+-]?+(?:\d\w*+(?:\.\w*+)?+|\.\d\w*+)(?:(?<=[eE])[+-]\d\w*+)?+"
_DOLLAR_TEXT = r"\$(?P<tag>(?:[^\W\d]\w*+)?+)\$.*?\$(?P=tag)\$"
_PLAIN_TEXT = r"'(?:[^']|'')*+'"
_ESCAPED_TEXT = r"'(?:[^'\\]|''|\\.)*+'"
_ESCAPED_DOUBLE = r'"(?:[^"\\]|""|\\.)*+"'
# Ends at the same quote whether or not a backslash escapes.
_CERTAIN_TEXT = r"'(?:[^'\\]|''|\\[^'])*+'"
_BACKSLASH_TEXT = r"(?<=(?i:escape)\s)'\\'"  # of LIKE ... ESCAPE '\': one character must stand there
_DOUBLE_QUOTED = r'"(?:[^"]|"")*+"'
_BACKTICKED = r"`(?:[^`]|``)*+`"
_BRACKETED = r"\[[^\[\]]*+\]"
_BRACKETED_WORDS = r"\[[^\W\d][\w ]*+\]"
_BLOCK_COMMENT = r"/\*[^*]*+(?:\*(?!/)[^*]*+)*+\*/"
_OPEN_COMMENT = r"/\*.*+"
_DASH = r"-(?!-|\.?\d)"
_NAMED = r"[^\W\d]\w*+"
_DOLLAR_PARAMETER = rf"\$(?:\d{{1,5}}(?!\w)|{_NAMED}(?!\$))"
_NUMBERED_PARAMETER = r"[?:](?:\d{1,5}(?!\w)|(?!\d))"


def _nested_comment(depth: int) -> str:
    inner = f"|{_nested_comment(depth - 1)}" if depth else ""
    return rf"/\*(?:[^*/]|\*(?!/)|/(?!\*){inner})*+\*/"


class Lexicon(NamedTuple):
    """
    The patterns of one dialect.

    Attributes:
        kept: The text that is kept, up to the first token that is not.
        piece: The text that is kept, as group 1, and then one token that is not, as a named group.
        literal: A literal of the kinds that occur in lists.
        has_ambiguous_backslash: Whether a backslash escapes a quote in one mode of the server and not in another.
        allows_double_quoted_text: Whether double quotes may enclose a string as well as a name.
    """

    kept: re.Pattern[str]
    piece: re.Pattern[str]
    literal: re.Pattern[str]
    has_ambiguous_backslash: bool
    allows_double_quoted_text: bool


def _lexicon(
    literals: str,
    prefixes: str,
    kept: str,
    comment: str,
    hint: str = "(?!)",
    has_ambiguous_backslash: bool = False,
    allows_double_quoted_text: bool = False,
) -> Lexicon:
    literal = f"(?:{literals}|{_BOOLEAN}|{_NUMBER})"
    plain = r"[^\w'\"`\\/+.$#@?:\[\-]++"
    # The first alternative for words is the second one without what costs time.
    word = rf"[^\W\dbBeEfFnNtTxX][\w$]*+|(?!{prefixes}|{_BOOLEAN}){_WORD}"
    keep = rf"(?:{plain}|{word}|{kept}|{_BACKTICKED}|/(?!\*)|\.(?!\d)|\+(?!\.?\d))*+"
    masked = "|".join(
        (
            f"(?P<hint>{hint})",
            rf"(?P<comment>(?:{comment})(?:\s*+(?:{comment}))*+)",
            rf"(?P<list>{literal}(?:\s*+,\s*+{literal})*+)",
            f"(?P<text>{_DOLLAR_TEXT}|{_BACKSLASH_TEXT})",
            "(?P<doubt>.++)",
        )
    )
    return Lexicon(
        re.compile(keep),
        re.compile(rf"({keep})(?:{masked}|\Z)", re.DOTALL),
        re.compile(literal, re.DOTALL),
        has_ambiguous_backslash,
        allows_double_quoted_text,
    )


_LEXICONS: dict[str, Callable[[], Lexicon]] = {
    "postgresql": lambda: _lexicon(
        literals=f"[eE]{_ESCAPED_TEXT}|[bBxXnN]?{_CERTAIN_TEXT}",
        prefixes="[eEbBxXnN]'",
        kept=rf"{_DOUBLE_QUOTED}|{_DOLLAR_PARAMETER}|[#@?:\[]|{_DASH}",
        comment=rf"--[^\n\r]*+|{_nested_comment(_COMMENT_DEPTH)}|{_OPEN_COMMENT}",
    ),
    "sqlite": lambda: _lexicon(
        literals=f"[xX]?{_PLAIN_TEXT}",
        prefixes="[xX]'",
        kept=rf"{_DOUBLE_QUOTED}|{_BRACKETED}|{_DOLLAR_PARAMETER}|{_NUMBERED_PARAMETER}|@|{_DASH}",
        comment=rf"--[^\n]*+|{_BLOCK_COMMENT}|{_OPEN_COMMENT}",
        allows_double_quoted_text=True,
    ),
    "mysql": lambda: _lexicon(
        literals=rf"[bBxXnN]?{_ESCAPED_TEXT}|{_ESCAPED_DOUBLE}|\\N(?!\w)",
        prefixes="[bBxXnN]'",
        kept=rf"{_DOLLAR_PARAMETER}|[@?:\[]|-(?!\.?\d)(?!-(?:[\s\x00-\x20]|\Z))",
        comment=rf"--(?=[\s\x00-\x20]|\Z)[^\n]*+|\#[^\n]*+|(?!/\*M?!)(?:{_BLOCK_COMMENT}|{_OPEN_COMMENT})",
        hint=r"/\*M?!\d*+",
        has_ambiguous_backslash=True,
    ),
    "standard": lambda: _lexicon(
        literals=f"[eE]{_ESCAPED_TEXT}|[bBxXnN]?{_CERTAIN_TEXT}",
        prefixes="[eEbBxXnN]'",
        kept=rf"{_DOUBLE_QUOTED}|{_BRACKETED_WORDS}|{_DOLLAR_PARAMETER}|[@?:\[]|{_DASH}",
        comment=rf"--[^\n]*+|{_nested_comment(0)}|{_OPEN_COMMENT}",  # whether comments nest is not known
        allows_double_quoted_text=True,
    ),
}
_in_list = re.compile(r"(?<![\w$])[iI][nN]\s*\(\s*\Z").search
_closes = re.compile(r"(?<!\s)\s*+\)").match
_escaped_quote = re.compile(r"\\['\"]").search
# A text in double quotes, where a name would rarely stand without its table: behind an operator, and in a list; and
# what is not written like a name anywhere but behind the words of _before_name.
_double_quoted_text = re.compile(
    rf"""(?P<kept>(?:[=<>]|\|\||(?<![\w$])(?:like|glob|match|regexp|is|not|between|then|else))\s*+){_DOUBLE_QUOTED}(?!\s*\.)
    |(?P<list>(?<![\w$])(?:in|values)\s*\(\s*+(?:{_DOUBLE_QUOTED}|\?)(?:\s*+,\s*+(?:{_DOUBLE_QUOTED}|[?]|\w++))*+\s*+\))
    |{_DOUBLE_QUOTED}""",
    re.VERBOSE | re.IGNORECASE,
)
_name_like = re.compile(r'\A"[^\W\d](?:[\w $#.-]|"")*+"').fullmatch
_before_name = re.compile(r"(?:from|join|into|update|table|exists|as|\.)\s*\Z", re.IGNORECASE).search
_double_quoted_name = re.compile(rf"(?<!\.){_DOUBLE_QUOTED}(?!\s*\.)")


@cache
def lexicon(dialect: str) -> Lexicon:
    """
    Compile the patterns of a dialect: `postgresql`, `sqlite`, `mysql` or `standard`.
    """
    return _LEXICONS[dialect]()


def without_comment(sql: str) -> str:
    """
    Return a statement without a comment at its end or its beginning; the text itself where that may be no comment.

    Tools write a trace id there, which makes each query a different text: this costs a tenth of masking it.
    """
    if sql.endswith("*/"):
        start = sql.rfind("/*")
        return sql[:start] if start > 0 and sql[start + 2] not in _HINTS else sql
    if sql.startswith("/*"):
        end = sql.find("*/", 2)
        return sql[end + 2 :] if end > 2 and sql[2] not in _HINTS and sql.find("/*", 2, end) < 0 else sql
    return sql


def mask(sql: str, lexicon: Lexicon, items: list[int] | None = None) -> str:
    """
    Replace every literal by `?` and leave the comments out; a statement without any is returned itself.

    Time and memory are linear in the length. Nothing that is masked comes back when the result is masked again.

    Args:
        items: Gets the number of literals in each list of an IN, which becomes one `?`.
    """
    text = sql if lexicon.kept.fullmatch(sql) else _masked(sql, lexicon, items)
    if lexicon.allows_double_quoted_text and '"' in text:
        text = _double_quoted_text.sub(_mask_double_quoted, text)
    return sql if text == sql else text


def _masked(sql: str, lexicon: Lexicon, lengths: list[int] | None) -> str:
    parts, is_hinted = [], False
    for piece in lexicon.piece.finditer(sql):
        kept, kind = piece[1], piece.lastgroup
        parts.append(kept)
        if kind == "list":
            parts.append(_list(sql, piece, lexicon, lengths))
        elif kind == "text":
            parts.append("?")
        elif kind == "comment":
            parts.append(_gap(sql, *piece.span("comment")))
        elif kind == "hint":
            is_hinted = True
            parts.append(" ")
        elif kind == "doubt":
            escaped = _escaped_quote(sql, 0, piece.start("doubt")) if lexicon.has_ambiguous_backslash else None
            if escaped is not None:
                return mask(sql[: escaped.start()], lexicon).removesuffix("?") + "?"
            parts.append("?")
    text = "".join(parts)
    return text.replace("*/", " ") if is_hinted else text


def _list(sql: str, piece: re.Match[str], lexicon: Lexicon, lengths: list[int] | None) -> str:
    items = piece["list"]
    if "," not in items:
        return "?"
    if _in_list(piece[1][-20:]) and _closes(sql, piece.end("list")):
        if lengths is not None:
            lengths.append(len(lexicon.literal.findall(items)))
        return "?"
    return lexicon.literal.sub("?", items)


def _gap(sql: str, start: int, end: int) -> str:
    """
    Return the space that a removed comment leaves: one where it alone separated two tokens.
    """
    before, after = sql[start - 1 : start], sql[end : end + 1]
    is_between = before and after and not before.isspace() and not after.isspace()
    return " " if is_between else ""


def _mask_double_quoted(found: re.Match[str]) -> str:
    if found["kept"] is not None:
        return found["kept"] + "?"
    if found["list"] is not None:
        return _double_quoted_name.sub("?", found["list"])
    start = found.start()
    return found[0] if _name_like(found[0]) or _before_name(found.string[max(0, start - 12) : start]) else "?"
