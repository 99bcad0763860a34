"""
Names that programs outside have used, and that were given better ones, lead to the same things.
"""

from importlib import import_module

import pytest

FORMER = [
    ("obskit.ai.calls:calls", "obskit.ai.recent_calls:recent_calls"),
    ("obskit.ai.budgeting:keeper", "obskit.ai.budget_book:budget_book"),
    ("obskit.health.secrets:redacted", "obskit.health.safe_details:redacted"),
    ("obskit.health.secrets:without_secrets", "obskit.health.safe_details:without_secrets"),
]


def found(place):
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


@pytest.mark.parametrize(("former", "now"), FORMER)
def test_a_former_name_leads_to_the_same(former, now):
    """
    What was imported by the former name is the thing itself, not a copy.
    """
    assert found(now) is found(former)


def test_a_row_has_its_labels_by_their_former_name():
    """
    A recent call's labels are its `names` too.
    """
    from obskit.ai.recent_calls import CallLabels, RecentCall

    labels = CallLabels(*("x" for _ in CallLabels._fields))
    row = RecentCall(labels, *(None for _ in RecentCall._fields[1:]))

    assert labels is row.labels is row.names
