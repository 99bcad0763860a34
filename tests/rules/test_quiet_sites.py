"""
Sites with little traffic, over thirty days: whoever runs one is told at most once a week.
"""

import random
from bisect import bisect_right
from itertools import accumulate

import pytest

from obskit.catalogue import CATALOGUE
from obskit.rules.in_force import rules_in_force
from obskit.rules.states import AlertStates
from obskit.signals.page import page_in_force
from obskit.signals.samples import Series

ROWS = {row.name: row for row in CATALOGUE}
MINUTE, DAYS = 60, 30
MINUTES = DAYS * 1440
DEPLOY, BOT, BLIP = 10 * 1440 + 600, 17 * 1440 + 800, 23 * 1440 + 900
AWAY = range(DEPLOY - 2, DEPLOY)
HTTP = (("endpoint", "/"), ("method", "GET"))
AI = (("model", "m"), ("provider", "p"), ("service", "s"))


class Site:
    """
    A site's figures, minute by minute, as far as a rule that is shipped asks for them; they are kept as changes.

    Args:
        per_hour: Requests in an hour of the day; none come from midnight to six.
        outage: Whether on one afternoon sixty visitors come, and half of their requests fail.
    """

    every = float(MINUTE)

    def __init__(self, per_hour, outage=False):
        self.chance = random.Random(per_hour)
        self.per_hour, self.outage = per_hour, outage
        self.changes = {}
        self.counted = {"requests": [0] * MINUTES, "failed queries": [0] * MINUTES, "calls": [0] * MINUTES}
        self.counts = {}
        self.scraped = [minute for minute in range(MINUTES) if minute not in AWAY]
        for minute in range(MINUTES):
            if minute == DEPLOY:
                self.restart(minute)
            self.serve(minute)
            self.note(minute)

    def restart(self, minute):
        for key, values in self.changes.items():
            if key in self.counts:
                values[0].append(minute)
                values[1].append(0.0)
        self.counts = dict.fromkeys(self.counts, 0.0)

    def count(self, minute, name, labels, by=1.0):
        key = (name, labels)
        self.counts[key] = self.counts.get(key, 0.0) + by
        self.put(minute, key, self.counts[key])

    def put(self, minute, key, value):
        times, values = self.changes.setdefault(key, ([-1], [0.0 if key in self.counts else value]))
        if times[-1] == minute:
            values[-1] = value
        elif values[-1] != value:
            times.append(minute)
            values.append(value)

    def serve(self, minute):
        hour, chance = minute // 60 % 24, self.chance.random
        due = self.per_hour / 60 if hour >= 6 else 0.0
        for _ in range(int(due) + (chance() < due % 1)):
            fresh = DEPLOY <= minute < DEPLOY + 3
            self.request(minute, failed=chance() < (0.3 if fresh else 0.01), slow=fresh or chance() < 0.03)
        if BOT <= minute < BOT + 5:
            for _ in range(60):
                self.request(minute, failed=chance() < 0.02, slow=False, status="404")
        if self.outage and BLIP <= minute < BLIP + 12:
            for place in range(10):
                self.request(minute, failed=place % 2 == 0, slow=False)

    def request(self, minute, failed, slow, status="200"):
        chance = self.chance.random
        self.counted["requests"][minute] += 1
        labels = tuple(sorted((*HTTP, ("status", "500" if failed else status))))
        self.count(minute, "http_requests_total", labels)
        self.observe(minute, "http_request_duration_seconds", HTTP, 3.0 if slow else 0.04)
        if chance() < 0.02:
            self.count(minute, "http_responses_aborted_total", (("endpoint", "/"),))
        query = (("operation", "select"), ("system", "sqlite"), ("table", "t"))
        for _ in range(3):
            self.observe(minute, "database_query_duration_seconds", query, 0.004)
        if chance() < 0.002:
            self.counted["failed queries"][minute] += 1
            self.count(minute, "database_errors_total", (("error", "Locked"), *query))
        if chance() < 0.2:
            self.counted["calls"][minute] += 1
            outcome = ("status", "error" if chance() < 0.03 else "success")
            self.count(minute, "ai_api_requests_total", (*AI, outcome))

    def observe(self, minute, name, labels, seconds):
        for bound in (*page_in_force().bounds_of(ROWS[name]), float("inf")):
            le = "+Inf" if bound == float("inf") else repr(bound)
            self.count(minute, f"{name}_bucket", tuple(sorted((*labels, ("le", le)))), float(seconds <= bound))
        self.count(minute, f"{name}_sum", labels, seconds)
        self.count(minute, f"{name}_count", labels)

    def note(self, minute):
        day = minute // 1440
        for name, value in (("memory_usage", 6e9 + 1e6 * (minute % 97)), ("memory_total", 1e10)):
            self.put(minute, (f"system_{name}_bytes", ()), value)
        for name, value in (("usage", 5e10 + 3e8 * day), ("total", 1e11)):
            self.put(minute, (f"system_disk_{name}_bytes", (("path", "/"),)), value)
        for name, value in (("active", float(minute % 7 == 0) * 3), ("max", 10.0)):
            self.put(minute, (f"database_connections_{name}", (("pool", "main"),)), value)
        for name, value in (("spent", 0.9 * (minute % 1440) / 1440), ("limit", 2.0)):
            self.put(minute, (f"ai_budget_{name}_usd", (("budget", "all"),)), value)
        self.put(minute, ("health_status", (("component", "database"),)), 0.0 if minute == BLIP else 1.0)
        self.put(minute, ("obskit_build_info", ()), 1.0)

    def latest(self):
        return float(MINUTES * MINUTE)

    def was_sampled(self, at):
        place = bisect_right(self.scraped, at / MINUTE)
        return place > 0 and self.scraped[place - 1] * MINUTE > at - MINUTE

    def select(self, name, start, end):
        first, last = bisect_right(self.scraped, start / MINUTE), bisect_right(self.scraped, end / MINUTE)
        minutes = self.scraped[first:last]
        for (own, labels), (times, values) in self.changes.items():
            shown = [minute for minute in minutes if minute >= times[0]] if own == name else []
            if shown:
                found = [values[bisect_right(times, minute) - 1] for minute in shown]
                yield Series(dict(labels), [float(minute * MINUTE) for minute in shown], found)

    def moments(self):
        """
        Yield each minute at which a floor may be passed, and else one an hour: below their floors ratios are silent.
        """
        sums = {name: [0, *accumulate(counts)] for name, counts in self.counted.items()}
        for minute in range(1, MINUTES):
            past = {name: total[minute + 1] - total[max(0, minute - 11)] for name, total in sums.items()}
            is_busy = past["requests"] >= 18 * 2 or past["failed queries"] >= 4 or past["calls"] >= 18
            recent = sums["requests"][minute + 1] - sums["requests"][max(0, minute - 6)]
            near = any(-5 <= minute - moment < 30 for moment in (DEPLOY, BOT, BLIP))
            if is_busy or recent >= 18 or near or minute % 60 == 0:
                yield minute * MINUTE


def alerts_of(site):
    """
    Return week and name of the alerts that fired, one for each time.
    """
    told, before = [], set()
    followed = [
        (rule, AlertStates(rule.condition, rule.for_seconds, rule.keep_firing_seconds))
        for rule in rules_in_force().rules
        if rule.judged == "both"
    ]
    for at in site.moments():
        firing = {
            (rule.key, labels)
            for rule, states in followed
            for labels, alert in states.evaluate(site, float(at)).items()
            if alert.state == "firing"
        }
        told += [(at // (7 * 1440 * MINUTE), name) for (name, _), _ in firing - before]
        before = firing
    return told


@pytest.mark.parametrize("per_hour", [1, 10, 100])
def test_a_quiet_site_tells_at_most_once_a_week(per_hour):
    """
    One request of a hundred fails, nobody comes at night, there is a deploy, a bot, and a check that fails once: of
    thirty days no week has more than one alert.
    """
    weeks = [week for week, _ in alerts_of(Site(per_hour))]

    assert len(weeks) == len(set(weeks)) <= DAYS // 7


def test_an_outage_of_a_quiet_site_is_told():
    """
    Where half of the requests of sixty visitors fail, the alert comes.
    """
    assert {"HighErrorRate"} == {name for _, name in alerts_of(Site(10, outage=True))}
