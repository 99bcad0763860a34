"""
Histories of a service that never was, made of chance: what its metrics page would have shown at each scrape.
"""

import random
from functools import cache

from obskit.catalogue import health, http, internal, system

EVERY = 15
ENDPOINTS, STATUSES = ("/a", "/b"), ("200", "404", "500")
BOUNDS = (0.1, 0.5, 2.0)
LE = {**{bound: repr(bound) for bound in BOUNDS}, float("inf"): "+Inf"}
KINDS = ("ValueError", "KeyError", "OSError")


@cache
def key_of(name, *labels):
    """
    Return what a series is kept under; each is asked for some million times.
    """
    return name, tuple(sorted(labels))


class History:
    """
    One process's figures, scrape by scrape.

    Args:
        seed: The same gives the same.
        start: The time of the first scrape, in seconds.
        scrapes: How many there are.
    """

    def __init__(self, seed, start, scrapes):
        self.chance = random.Random(seed)
        self.series = {}
        # Some at the moment of an evaluation: a sample at t - w is in the window before Prometheus 3, not since.
        self.phase = self.chance.randrange(EVERY)
        self.now = start + self.phase
        self.restart()
        silent = 0
        for _ in range(scrapes):
            if self.chance.random() < 0.02:
                silent = self.chance.choice((1, 1, 2, 8, 25))
            if self.chance.random() < 0.01:
                self.restart()
                silent = max(silent, self.chance.choice((0, 1, 3)))
            if self.chance.random() < 0.05:
                self.turn()
            self.work()
            if silent > 0:
                silent -= 1
            else:
                self.scrape()
            self.now += EVERY

    def restart(self):
        """
        Start over: every counter is gone.
        """
        self.counts, self.buckets, self.sums = {}, {}, {}
        self.gauges = {(health.STATUS.name, (("component", "database"),)): 1.0}
        self.used = self.chance.uniform(1e9, 9e9)
        self.turn()

    def turn(self):
        """
        Become another kind of hour: busy or quiet, sound or broken, fast or slow.
        """
        choose = self.chance.choice
        self.busy = choose((0.2, 5, 30, 100))
        self.broken = choose((0.0, 0.01, 0.2, 0.5))
        self.slow = choose((0.0, 0.01, 0.2, 0.5))
        self.leak = choose((0.0, 1e7, -1e7, 8e7))
        self.gauges[(health.STATUS.name, (("component", "database"),))] = choose((1.0, 1.0, 0.5, 0.0))

    def count(self, name, *labels, by=1.0):
        key = key_of(name, *labels)
        self.counts[key] = self.counts.get(key, 0.0) + by

    def work(self):
        """
        Serve what comes between two scrapes.
        """
        for _ in range(int(self.chance.expovariate(1 / self.busy))):
            endpoint = ("endpoint", self.chance.choice(ENDPOINTS))
            broken = self.chance.random() < self.broken
            status = ("status", "500" if broken else self.chance.choice(STATUSES[:2]))
            self.count(http.REQUESTS.name, ("method", "GET"), endpoint, status)
            seconds = 3.0 if self.chance.random() < self.slow else self.chance.choice((0.05, 0.3, 1.0))
            for bound in LE:
                labels = (("method", "GET"), endpoint, ("le", LE[bound]))
                self.count(http.DURATION.name + "_bucket", *labels, by=float(seconds <= bound))
            self.count(http.DURATION.name + "_sum", ("method", "GET"), endpoint, by=seconds)
            self.count(http.DURATION.name + "_count", ("method", "GET"), endpoint)
            if broken and self.chance.random() < 0.3:
                self.count(http.EXCEPTIONS.name, endpoint, ("exception", self.chance.choice(KINDS)))
        if self.chance.random() < 0.005 and self.counts:
            self.counts.pop(self.chance.choice(sorted(key for key in self.counts if key[0] == http.REQUESTS.name)))
        self.used = min(max(self.used + self.leak * self.chance.uniform(0.5, 1.5), 1e8), 1e10)

    def scrape(self):
        """
        Note what the page shows.
        """
        shown = {
            **self.counts,
            **self.gauges,
            (internal.BUILD_INFO.name, ()): 1.0,
            (health.LAST_RUN.name, (("component", "database"),)): self.now - 40.0 * (self.now // 600 % 4),
            (system.MEMORY.name, ()): self.used,
            (system.MEMORY_TOTAL.name, ()): 1e10,
        }
        for key, value in shown.items():
            self.series.setdefault(key, []).append((float(self.now), value))


def openmetrics(histories):
    """
    Write histories as text that Prometheus makes blocks of, each under a job of its own.
    """
    lines = []
    for job, history in histories.items():
        for (name, labels), samples in history.series.items():
            pairs = (("job", job), ("instance", "a"), *labels)
            written = ",".join(f'{label}="{value}"' for label, value in pairs)
            lines += [f"{name}{{{written}}} {value!r} {at:.0f}" for at, value in samples]
    return "\n".join([*lines, "# EOF\n"])
