"""
A text that is cut shows no secret by its beginning.
"""

import io
import json

import pytest
from secrets_planted import CARDS, JWT, KEY_BLOCK, LONG, TOKENS

import obskit
from obskit.health.safe_details import redacted
from obskit.redaction.redactor import Redactor
from obskit.redaction.text_truncation import LOOKAHEAD, MAX_TEXT, redact_and_truncate, redact_with_mark
from obskit.testing import isolated_runtime

redactor = Redactor()
LIMIT = 300
SECRET = "Tr0ub4dor-X9zQ"
PLANTED = {
    "a password in a URL": (f"redis://default:{SECRET}@cache:6379/0", SECRET),
    "a password": (f"password={SECRET}", SECRET),
    "a password in quotes": (f'"password": "{SECRET} {SECRET}"', SECRET),
    "a list of secrets": (f"secrets: [{SECRET}, {SECRET}]", SECRET),
    "a header": (f"Authorization: Bearer {SECRET}", SECRET),
    "a token": (TOKENS["github"], TOKENS["github"]),
    "a long token": (TOKENS["sendgrid"], TOKENS["sendgrid"]),
    "a JWT": (JWT, JWT),
    "a card": (CARDS[1], CARDS[1]),
    "a key": (KEY_BLOCK, KEY_BLOCK.split("\n")[1]),
    "a driver's detail": (f"\nDETAIL:  Key (email)=({SECRET}) already exists.", SECRET),
}
# What is before it: with blanks, and without; and what shrinks when it is redacted, so that what was cut moves up.
BEFORE = {
    "words": "plain words. " * 800,
    "one word": "/" * 10_000,
    "what shrinks": f"token={LONG}, " * 200,
    "what shrinks in one word": f"/?token={LONG}&" * 200,
}


def in_clear(shown: str, secret: str) -> bool:
    return any(secret[start : start + 6] in shown for start in range(len(secret) - 5))


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize(("planted", "secret"), PLANTED.values(), ids=PLANTED)
def test_no_cut_shows_a_secrets_beginning(planted, secret, before):
    """
    Wherever a cut goes through a secret, at what is shown and at what is looked at, no six characters of it are shown.
    """
    after = " and more." * 1_000
    between = ", " if " " in before else "&"
    for end in (LIMIT, LIMIT + LOOKAHEAD):
        for offset in range(-6, len(planted) + 6):
            text = before[: end - offset] + between + planted + after
            shown = redact_with_mark(text, LIMIT, redactor.traceback_of_any_length)

            assert not in_clear(shown, secret)
            assert len(shown) <= LIMIT


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (LIMIT, ("x" * LIMIT, 0)),
        (LIMIT + 7, ("x" * LIMIT, 7)),
        (LIMIT + LOOKAHEAD, ("x" * LIMIT, LOOKAHEAD)),
        (LIMIT + LOOKAHEAD + 1, ("x" * LIMIT, LOOKAHEAD + 1)),
        (10 * LOOKAHEAD, ("x" * LIMIT, 10 * LOOKAHEAD - LIMIT)),
    ],
)
def test_a_text_is_cut_to_its_limit(length, expected):
    """
    What is missing is counted, and what fits comes back as it is.
    """
    assert expected == redact_and_truncate("x" * length, LIMIT, redactor.text)


def test_no_more_is_looked_at_than_is_needed():
    """
    What comes far behind the limit is never seen.
    """
    seen = []
    redact_and_truncate("a b " * 100_000, LIMIT, lambda text: seen.append(text) or text)

    assert [LIMIT + LOOKAHEAD >= len(text) >= LIMIT for text in seen] == [True]


@pytest.mark.parametrize("values", [True, False])
def test_strings_messages_and_exceptions_have_a_megabyte(values):
    """
    Each says how much is missing; of a traceback the frames stay, and a message is cut in each.
    """
    out, log = io.StringIO(), obskit.get_logger("shop.cut")
    long = "plain words. " * 200_000
    with isolated_runtime(log_stream=out, redact_values=values):
        log.info(long, text=long, inside=[long])
        try:
            raise ValueError(long)
        except ValueError:
            log.exception("failed")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    said = [first["message"], first["text"], first["inside"][0], second["exception"]["message"]]

    assert [True] * 4 == [text.endswith(" characters cut]") and len(text) <= MAX_TEXT for text in said]
    assert second["exception"]["traceback"].startswith("Traceback (most recent call last):\n  File ")
    assert MAX_TEXT / 2 < len(second["exception"]["traceback"]) <= MAX_TEXT


def test_what_was_cut_stays_as_it_is():
    """
    A second look at a text that was cut changes nothing.
    """
    once = redactor.text("plain words. " * 200_000)

    assert redactor.text(once) is once
    assert once == redactor.text(once)


def test_a_health_checks_reason_shows_no_part_of_a_password():
    """
    Of a list of addresses as long as one likes, each is hidden whole.
    """
    nodes = ", ".join(f"redis://default:{SECRET}@cache-{number:03d}.internal:6379/0" for number in range(120))
    shown = [redacted(f"{'x' * pad} no node answers: {nodes}") for pad in range(100)]

    assert [] == [text for text in shown if in_clear(text, SECRET) or len(text) > 500]
