"""
What needs a Prometheus is left out by name where there is none, and never skipped.
"""

import beside_prometheus


def test_all_tests_beside_prometheus_are_known_by_name():
    """
    Each that a list of servers makes is below `if prometheus.found():`, where the end of a run finds its name.
    """
    known = beside_prometheus.names()

    assert [] == beside_prometheus.outside_of_it()
    assert {name.partition("::")[0] for name in known} >= {
        *("export/test_mutants.py", "export/test_examples.py", "export/test_guides.py", "export/test_rules.py"),
        *("rules/test_objectives.py", "rules/test_states.py", "signals/test_live.py", "signals/test_verdicts.py"),
    }
