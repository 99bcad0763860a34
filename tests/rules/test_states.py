"""
An alert is pending, fires and ends at the evaluation at which it does so in Prometheus.
"""

import json
import random
import subprocess

import pytest

from obskit.rules.states import AlertStates
from obskit.signals import MemorySamples, level
from obskit.signals.page import Page
from obskit.signals.signal import ConditionOrNoData
from signals import prometheus

EVERY, STEPS, SEQUENCES = 15, 60, 30
COMPONENTS = ("database", "disk")
CONDITION = level("health_status") < 0.25
OR_NO_DATA = ConditionOrNoData(CONDITION.signal, CONDITION.sign, CONDITION.threshold)
BEAT = "obskit_build_info"


def kept(sequences, beats=()):
    """
    Make samples of sequences, and of what is there whenever a page is: a value a sampling, None where it is not there.
    """
    series = {("health_status", (("component", name),)): values for name, values in sequences.items()}
    return MemorySamples(
        {
            key: [(float(EVERY * place), value) for place, value in enumerate(values) if value is not None]
            for key, values in {**series, (BEAT, ()): beats}.items()
        },
        duration(EVERY),
    )


def states_of(values, for_seconds=0.0, keep_firing_seconds=0.0):
    """
    Return the state of a component's alert at each evaluation, by its first letter; a dot for none.
    """
    samples, states = kept({"database": values}), AlertStates(CONDITION, for_seconds, keep_firing_seconds)
    told = [states.evaluate(samples, float(EVERY * place)) for place in range(len(values))]
    return "".join(next(iter(alerts.values())).state[0] if alerts else "." for alerts in told)


@pytest.mark.parametrize(
    ("values", "for_seconds", "keep_firing_seconds", "expected"),
    [
        ([1, 0, 0, 1], 0, 0, ".ff."),
        ([1, 0, 0, 0, 0, 1], 30, 0, ".ppff."),
        ([0, 0, 1, 0, 0, 0], 30, 0, "pp.ppf"),
        ([0, 1, 1, 1, 1], 0, 30, "fff.."),
        ([0, 1, 0, 1, 1, 1], 0, 30, "fffff."),
        ([0, 0, None, 0], 15, 0, "pf.p"),
        ([0, None, None, None], 0, 30, "fff."),
    ],
)
def test_states_follow_the_condition(values, for_seconds, keep_firing_seconds, expected):
    """
    An alert fires once the condition has held for long enough, and ends with it, or that much later; one that is
    pending ends at once, and so does one whose figure is gone.
    """
    assert expected == states_of(values, for_seconds, keep_firing_seconds)


def sequence(chance):
    """
    Make a component's statuses: runs of good, bad and gone.
    """
    values = []
    while len(values) < STEPS:
        values += [chance.choice((1.0, 0.0, 0.0, None))] * chance.choice((1, 1, 2, 4, 9))
    return values[:STEPS]


def written(values):
    """
    Write a sequence for promtool; what is not there any more is stale.
    """
    before, words = None, []
    for value in values:
        words.append(("_" if before is None else "stale") if value is None else f"{value:g}")
        before = value
    return " ".join(words)


def duration(seconds):
    return f"{seconds}s"


def case_of(seed, folder):
    """
    Write a rule, and return promtool's test of it, which expects of each evaluation what we say.
    """
    chance = random.Random(seed)
    held, kept_on = chance.choice((0, 15, 30, 60, 120)), chance.choice((0, 0, 15, 30, 75))
    sequences = {name: sequence(chance) for name in COMPONENTS}
    condition = chance.choice((CONDITION, OR_NO_DATA))
    rule = {"alert": "Down", "expr": condition.promql(Page("app")), "for": duration(held)}
    rule |= {"keep_firing_for": duration(kept_on)} if kept_on else {}
    path = folder / f"rules-{seed}.yml"
    path.write_text(json.dumps({"groups": [{"name": "rules", "interval": duration(EVERY), "rules": [rule]}]}))
    series = [
        {"series": f'health_status{{job="app",component="{name}"}}', "values": written(values)}
        for name, values in sequences.items()
    ]
    beats = [None if chance.random() < 0.05 else 1.0 for _ in range(STEPS)]
    series.append({"series": f'{BEAT}{{job="app"}}', "values": written(beats)})
    samples, states = kept(sequences, beats), AlertStates(condition, held, kept_on)
    told = [states.evaluate(samples, float(EVERY * place)) for place in range(STEPS)]
    expected = [expected_at(place, alerts) for place, alerts in enumerate(told)]
    counts = [alert.state for alerts in told for alert in alerts.values()]
    group = {"interval": duration(EVERY), "input_series": series, "promql_expr_test": expected}
    return path, {"rule_files": [path.name], "evaluation_interval": duration(EVERY), "tests": [group]}, counts


def expected_at(place, alerts):
    shown = []
    for labels, alert in alerts.items():
        own = "".join(f',{name}="{value}"' for name, value in labels)
        text = f'ALERTS{{alertname="Down",alertstate="{alert.state}",job="app"{own}}}'
        shown.append({"labels": text, "value": 1})
    return {"expr": "ALERTS", "eval_time": duration(EVERY * place), "exp_samples": shown}


if prometheus.found():

    @pytest.mark.parametrize("programs", prometheus.found(), ids=lambda folder: folder.parts[-3])
    def test_states_are_those_of_prometheus(tmp_path, programs):
        """
        Over thirty sequences of chance, with figures and pages that come and go, each evaluation has the alerts that
        Prometheus has, in the same states.
        """
        files, counts = [], []
        for seed in range(SEQUENCES):
            path, test, states = case_of(seed, tmp_path)
            files.append(path.with_name(f"test-{seed}.yml"))
            files[-1].write_text(json.dumps(test))
            counts += states
        command = [programs / "promtool", "test", "rules", *files]

        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

        assert (0, SEQUENCES) == (done.returncode, done.stdout.count("SUCCESS")), done.stdout + done.stderr
        assert min(counts.count("pending"), counts.count("firing")) > 100
