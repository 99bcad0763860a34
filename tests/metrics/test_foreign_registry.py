"""
What else a registry holds: left alone, labelled by worker, or added up over processes; never twice, never in the way.
"""

import os
import subprocess
import sys
import textwrap
import threading
from collections import Counter as Tally

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.platform_collector import PlatformCollector

from obskit.metrics.exposition import Section, render_page
from obskit.metrics.family_renderer import FamilyRenderer
from obskit.metrics.foreign_registry import foreign_families, is_collecting_foreign
from obskit.recorder import recorder

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(autouse=True)
def recorded():
    """
    Yield the recorder with nothing counted yet, as it swallows and counts in production.
    """
    recorder.reset()
    yield recorder
    recorder.reset()


class Own:
    """
    The collector of our families: silent for a thread that has them already.
    """

    def describe(self):
        return [GaugeMetricFamily("own", "O.")]

    def collect(self):
        if not is_collecting_foreign():
            yield GaugeMetricFamily("own", "O.", 1.0)


class Asked:
    """
    Some gauges; it counts how often it is asked, and raises after the last one if told to.
    """

    def __init__(self, *names, error=None):
        self.names, self.error, self.times = names, error, 0

    def describe(self):
        return [GaugeMetricFamily(name, "A.") for name in self.names]

    def collect(self):
        self.times += 1
        for name in self.names:
            yield GaugeMetricFamily(name, "A.", 1.0)
        if self.error:
            raise self.error


def registry_of(*collectors):
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


def names_of(metrics):
    return [metric.name for metric in metrics]


def test_own_families_are_left_out():
    """
    The registry's other collectors answer, in its order; ours is silent meanwhile, and only meanwhile.
    """
    registry = registry_of(Asked("a"), Own(), Asked("b", "c"))
    heard = []
    for metric in foreign_families(registry):
        heard.append((metric.name, is_collecting_foreign(), names_of(registry.collect())))

    assert [(name, False, ["a", "own", "b", "c"]) for name in "abc"] == heard
    assert not is_collecting_foreign()


def test_other_threads_see_everything():
    """
    A thread that asks the registry itself gets our families, also while another one collects without them.
    """
    entered, release = threading.Event(), threading.Event()

    class Slow(Asked):
        def collect(self):
            if is_collecting_foreign():
                entered.set()
                release.wait(30)
            yield from super().collect()

    registry = registry_of(Slow("slow"), Own())
    answers = []
    scrape = threading.Thread(target=lambda: answers.extend(names_of(foreign_families(registry))))
    scrape.start()
    entered.wait(30)
    seen = names_of(registry.collect())
    release.set()
    scrape.join(30)

    assert ["slow", "own"] == seen
    assert ["slow"] == answers


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("names", [None, ["a", "b", "broken"]])
def test_a_collector_that_raises(recorded, place, names):
    """
    It costs what it did not give, wherever it stands; the others answer, once each, and the failure is counted.
    """
    collectors = [Asked("a"), Asked("b")]
    collectors.insert(place, Asked("broken", error=RuntimeError("no database")))

    assert {"a": 1, "b": 1, "broken": 1} == Tally(
        names_of(foreign_families(registry_of(*collectors, Own()), None, names))
    )
    assert {"metrics_page": 1} == recorded.errors


def test_a_collector_that_raises_at_once(recorded):
    """
    One that does not even give an iterator is the same.
    """

    class Broken:
        def describe(self):
            return []

        def collect(self):
            raise RuntimeError("no database")

    assert ["a", "b"] == names_of(foreign_families(registry_of(Asked("a"), Broken(), Asked("b"), Broken())))
    assert {"metrics_page": 1} == recorded.errors


def test_a_collector_that_cannot_be_told_apart(recorded):
    """
    Where a registry is one piece, what came before the failure stays, and our own families are on the page.
    """
    source = Asked("a", "b", error=RuntimeError("no database"))
    own = Section(FamilyRenderer("own", "gauge", "O."), [((), [1.0])])
    text = b"".join(render_page([own], foreign_families(source), accept=OPENMETRICS)[1]).decode()

    assert ["own", "a", "b"] == names_of(parse_openmetrics(text))
    assert {"metrics_page": 1} == recorded.errors


def test_names_ask_those_who_have_them():
    """
    `name[]` runs the collectors of these names alone, and takes single samples, or families by their own name.
    """
    wanted, other = Asked("a", "b"), Asked("c")
    registry = registry_of(wanted, other, Own())
    opened = Counter("opened", "O.", registry=registry)
    waits = Histogram("waits_seconds", "W.", registry=registry, buckets=(1.0,))
    opened.inc()
    waits.observe(0.5)
    found = {
        metric.name: [sample.name for sample in metric.samples]
        for metric in foreign_families(registry, None, ["a", "opened_total", "waits_seconds", "own"])
    }

    assert {"a", "opened", "waits_seconds"} == found.keys()
    assert (["a"], ["opened_total"]) == (found["a"], found["opened"])
    assert {"waits_seconds_bucket", "waits_seconds_count", "waits_seconds_sum"} <= set(found["waits_seconds"])
    assert (1, 0) == (wanted.times, other.times)


def test_names_of_samples_are_prometheus_clients():
    """
    For names of samples the answer is that of `restricted_registry()`.
    """
    registry = registry_of(Asked("a"), Asked("b"))
    Histogram("waits_seconds", "W.", ["x"], registry=registry).labels("1").observe(0.5)
    names = ["a", "waits_seconds_bucket", "waits_seconds_sum", "missing"]
    theirs = {metric.name: metric for metric in registry.restricted_registry(names).collect()}

    assert theirs == {metric.name: metric for metric in foreign_families(registry, None, names)}


def test_workers_are_told_apart():
    """
    Every sample says which worker's it is, unless it does so already; what the collectors keep is not touched.
    """
    registry = CollectorRegistry()
    PlatformCollector(registry=registry)
    Counter("opened", "O.", ["oven"], registry=registry).labels("left").inc(2)
    Gauge("busy", "B.", ["worker"], registry=registry).labels("theirs").set(3)
    Info("made", "M.", registry=registry).info({"by": "us"})
    before = generate_latest(registry)
    found = {sample.name: sample for metric in foreign_families(registry, "7") for sample in metric.samples}

    assert ({"oven": "left", "worker": "7"}, 2.0) == (found["opened_total"].labels, found["opened_total"].value)
    assert {"worker": "theirs"} == found["busy"].labels
    assert {"by": "us", "worker": "7"} == found["made_info"].labels
    assert "7" == found["python_info"].labels["worker"]
    assert before == generate_latest(registry)


CHILD = """
    import sys
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
    from prometheus_client.core import GaugeMetricFamily

    registry, number = CollectorRegistry(), int(sys.argv[1])
    opened = Counter("opened", "Opened.", ["oven"], registry=registry)
    never = Counter("never", "Never.", ["oven"], registry=registry)
    waits = Histogram("waits_seconds", "Waits.", registry=registry, buckets=(1.0, 10.0))
    sizes = Summary("sizes_bytes", "Sizes.", registry=registry)
    hottest = Gauge("hottest_celsius", "Hottest.", registry=registry, multiprocess_mode="max")
    each = Gauge("each_celsius", "Each.", registry=registry)
    opened.labels("left").inc(number)
    opened.labels('"' * number).inc()
    waits.observe(number)
    sizes.observe(number)
    hottest.set(number)
    each.set(number)

    class Custom:
        def describe(self):
            return [GaugeMetricFamily("pool_size", "Pool.")]

        def collect(self):
            pool = GaugeMetricFamily("pool_size", "Pool.", labels=["pool"])
            pool.add_metric(["db"], number)
            yield pool

    registry.register(Custom())
"""
SCRAPE = """
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client import generate_latest
    from obskit.metrics.exposition import Section, render_page
    from obskit.metrics.family_renderer import FamilyRenderer
    from obskit.metrics.foreign_registry import foreign_families

    own = Section(FamilyRenderer("own", "gauge", "O."), [((), [1.0])])
    names = sys.argv[3:] or None
    others = foreign_families(registry, sys.argv[2] or None, names)
    print(b"".join(render_page([own], others, accept=ACCEPT, names=names)[1]).decode())
"""


def child(folder, number, more="", *arguments, accept=OPENMETRICS):
    """
    Run a process that counts in the directory, and give what it prints.
    """
    source = f"ACCEPT = {accept!r}\n" + textwrap.dedent(CHILD) + textwrap.dedent(more)
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", source, str(number), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout[:-1]


def samples_of(text):
    """
    Return the value of each sample; a sample that is there twice is an error.
    """
    samples = [
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in parse_openmetrics(text)
        for sample in family.samples
    ]
    found = {(name, labels): value for name, labels, value in samples}

    assert len(samples) == len(found)
    return found


def test_several_processes_are_added_up(tmp_path):
    """
    With `prometheus_client`'s multiprocess directory, the figures are those of all processes, dead ones too; what is
    not kept there is this worker's own, and says so. No family is there twice.
    """
    for number in (1, 2):
        child(tmp_path, number)
    found = samples_of(child(tmp_path, 4, SCRAPE, "3"))

    assert 7.0 == found["opened_total", (("oven", "left"),)]
    assert [1.0, 1.0, 1.0] == [found["opened_total", (("oven", '"' * number),)] for number in (1, 2, 4)]
    assert [1.0, 3.0, 3.0] == [found["waits_seconds_bucket", (("le", edge),)] for edge in ("1.0", "10.0", "+Inf")]
    assert (3.0, 7.0) == (found["waits_seconds_count", ()], found["waits_seconds_sum", ()])
    assert (3.0, 7.0) == (found["sizes_bytes_count", ()], found["sizes_bytes_sum", ()])
    assert 4.0 == found["hottest_celsius", ()]
    assert [1.0, 2.0, 4.0] == sorted(value for (name, _), value in found.items() if name == "each_celsius")
    assert {(("pool", "db"), ("worker", "3")): 4.0} == {
        labels: value for (name, labels), value in found.items() if name == "pool_size"
    }
    assert 1.0 == found["own", ()]


def test_several_processes_in_text_are_prometheus_clients(tmp_path):
    """
    What is added up is written as `prometheus_client` writes it, and without a worker nothing is labelled.
    """
    child(tmp_path, 1)
    more = (
        SCRAPE
        + """
    merged = CollectorRegistry()
    MultiProcessCollector(merged)
    merged.register(Custom())
    print("theirs", generate_latest(merged).decode(), sep="")
    """
    )
    ours, theirs = child(tmp_path, 2, more, "", accept="").split("theirs")
    own = "# HELP own O.\n# TYPE own gauge\nown 1.0\n"
    never = "# HELP never_total Never.\n# TYPE never_total counter\n"

    assert sorted((own + never + theirs).splitlines()) == sorted(ours.strip().splitlines())


def test_several_processes_by_name(tmp_path):
    """
    `name[]` holds for what is added up, too.
    """
    child(tmp_path, 1)
    text = child(tmp_path, 2, SCRAPE, "3", "opened_total", "waits_seconds_sum", "pool_size", accept="")
    lines = [line.partition("{")[0] for line in text.splitlines() if line and not line.startswith("#")]

    assert ["opened_total"] * 3 + ["pool_size", "waits_seconds_sum 3.0"] == sorted(lines)


def test_a_directory_that_is_not_there(monkeypatch, tmp_path, recorded):
    """
    Without the directory the figures are this worker's own, and the failure is counted.
    """
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "missing"))
    [metric] = foreign_families(registry_of(Asked("a")), "3")

    assert [{"worker": "3"}] == [sample.labels for sample in metric.samples]
    assert {"metrics_page": 1} == recorded.errors


def test_a_file_that_is_none(monkeypatch, tmp_path, recorded):
    """
    A file in the directory that cannot be read costs what is added up, not the page.
    """
    child(tmp_path, 1)
    (tmp_path / "counter_1.db").write_bytes(b"\x40\0\0\0" + b"\x7f" * 60)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    assert ["a"] == names_of(foreign_families(registry_of(Asked("a"))))
    assert {"metrics_page": 1} == recorded.errors


def test_a_registry_that_adds_up_itself(monkeypatch, tmp_path):
    """
    An application that has put `prometheus_client`'s collector into its registry does not see its figures twice.
    """
    child(tmp_path, 1)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    names = names_of(foreign_families(registry))

    assert {"opened", "waits_seconds", "sizes_bytes", "hottest_celsius", "each_celsius"} == set(names)
    assert len(set(names)) == len(names)


def test_an_own_name_wins_over_the_directory(monkeypatch, tmp_path, recorded):
    """
    A family that is ours is not taken from the directory.
    """
    child(tmp_path, 1)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    own = Section(FamilyRenderer("opened_total", "counter", "Ours."), [((), [5.0])])
    text = b"".join(render_page([own], foreign_families(CollectorRegistry()), accept=OPENMETRICS)[1]).decode()

    assert {("opened_total", ()): 5.0} == {key: v for key, v in samples_of(text).items() if key[0] == "opened_total"}
    assert {("metrics_page", "duplicate"): 1} == recorded.dropped
