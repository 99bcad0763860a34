"""
The machine's figures: whose limits count, what a window is, and what is left out.
"""

import os
import sqlite3
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from obskit import system
from obskit.metrics import exposition
from obskit.system import ContainerLimits, Sampler
from obskit.testing import FakeClock, isolated_runtime
from obskit.time.clock import rest


def tree(root, **files):
    """
    Write a control group's files; `__` in a name is a folder.
    """
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path = path.with_name(path.name.replace("_DOT_", "."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def limits(root, own):
    (root / "own").write_text(own)
    return ContainerLimits(str(root), str(root / "own"))


def test_version_2(tmp_path):
    """
    The tightest limit of the group and of those around it counts, and what can be dropped is not in use.
    """
    tree(
        tmp_path,
        cgroup_DOT_controllers="cpu memory",
        pod__memory_DOT_max="1000000",
        pod__memory_DOT_current="900000",
        pod__memory_DOT_stat="anon 1\ninactive_file 300000",
        pod__cpu_DOT_max="50000 100000",
        pod__app__memory_DOT_max="max",
        pod__app__cpu_DOT_max="max 100000",
        pod__app__cpu_DOT_stat="usage_usec 2500000\nuser_usec 1",
    )
    found = limits(tmp_path, "0::/pod/app\n")

    assert ((600_000, 1_000_000), 0.5, 2.5) == (found.memory(), found.cpus(), found.cpu_seconds())


def test_version_1(tmp_path):
    """
    Controllers have trees of their own; a huge limit is none.
    """
    tree(
        tmp_path,
        memory__app__memory_DOT_limit_in_bytes="2000000",
        memory__app__memory_DOT_usage_in_bytes="500000",
        memory__app__memory_DOT_stat="total_inactive_file 100000",
        memory__memory_DOT_limit_in_bytes="9223372036854771712",
        cpu__app__cpu_DOT_cfs_quota_us="200000",
        cpu__app__cpu_DOT_cfs_period_us="100000",
        cpuacct__app__cpuacct_DOT_usage="3000000000",
    )
    found = limits(tmp_path, "4:memory:/app\n2:cpuacct:/app\n1:cpu:/app\n0::/\n")

    assert ((400_000, 2_000_000), 2.0, 3.0) == (found.memory(), found.cpus(), found.cpu_seconds())


@pytest.mark.parametrize("own", ["", "0::/\n", "0::/../../etc\n", "4:memory:/gone\n"])
def test_no_limits(tmp_path, own):
    """
    Without limits, or control groups, there is no figure; a strange path leads nowhere.
    """
    found = limits(tmp_path, own)

    assert (None, None, None) == (found.memory(), found.cpus(), found.cpu_seconds())


def test_inside_a_container(tmp_path):
    """
    Where the mount is the group itself, its path outside of the container does not matter.
    """
    tree(tmp_path, cgroup_DOT_controllers="", memory_DOT_max="1000", memory_DOT_current="10", memory_DOT_stat="")
    found = limits(tmp_path, "0::/kubepods/pod1\n")

    assert (10, 1000) == found.memory()


def test_lines_that_sandboxes_write(tmp_path):
    """
    Empty lines, and such as are no group's, are passed over.
    """
    tree(
        tmp_path,
        cgroup_DOT_controllers="",
        app__memory_DOT_max="1000",
        app__memory_DOT_current="10",
        app__memory_DOT_stat="",
    )
    found = limits(tmp_path, "\nnonsense\n0::/app\n\n1:\n")

    assert found.memory() == (10, 1000)


def test_a_limit_and_what_is_used_of_it_are_of_one_group(tmp_path):
    """
    Where a pod is limited and not its containers, what all of them use counts.
    """
    tree(
        tmp_path,
        cgroup_DOT_controllers="cpu",
        pod__cpu_DOT_max="100000 100000",
        pod__cpu_DOT_stat="usage_usec 9000000",
        pod__app__cpu_DOT_max="max 100000",
        pod__app__cpu_DOT_stat="usage_usec 2000000",
    )
    found = limits(tmp_path, "0::/pod/app\n")

    assert (found.cpus(), found.cpu_seconds()) == (1.0, 9.0)


def test_a_limit_and_what_is_used_of_it_are_of_one_group_in_version_1(tmp_path):
    """
    The same where the two have trees of their own.
    """
    tree(
        tmp_path,
        cpu__pod__cpu_DOT_cfs_quota_us="100000",
        cpu__pod__cpu_DOT_cfs_period_us="100000",
        cpu__pod__app__cpu_DOT_cfs_quota_us="-1",
        cpu__pod__app__cpu_DOT_cfs_period_us="100000",
        cpuacct__pod__cpuacct_DOT_usage="9000000000",
        cpuacct__pod__app__cpuacct_DOT_usage="2000000000",
    )
    found = limits(tmp_path, "2:cpuacct:/pod/app\n1:cpu:/pod/app\n")

    assert (found.cpus(), found.cpu_seconds()) == (1.0, 9.0)


class Limited:
    """
    A container with half a processor.
    """

    used = 0.0

    def cpus(self):
        return 0.5

    def cpu_seconds(self):
        return self.used

    def memory(self):
        return 100, 1000


def test_the_window_is_the_samplers_own():
    """
    A share is taken over the time between two looks, a second or more; who asks in between gets the same.
    """
    clock, container = FakeClock(100.0), Limited()
    sampler = Sampler(container, clock)
    shares = [sampler.cpu_percent()]
    for seconds, used in ((0.5, 0.1), (9.5, 1.9), (0.2, 9.0)):
        clock.advance(seconds)
        container.used += used
        shares.append(sampler.cpu_percent())

    assert [None, None, 40.0, 40.0] == shares


def test_a_limit_that_is_raised_in_place(monkeypatch):
    """
    A look is judged by the limit of its moment, and not by the sum of two.
    """
    clock, container = FakeClock(1000.0), Limited()
    sampler = Sampler(container, clock)
    shares = []
    for cpus in (0.5, 0.5, 2.0, 2.0, 0.5):
        monkeypatch.setattr(container, "cpus", lambda cpus=cpus: cpus)
        shares.append(sampler.cpu_percent())
        clock.advance(10)
        container.used += 4.0

    assert shares == [None, 80.0, 20.0, 20.0, 80.0]


def test_a_limit_that_comes_and_goes(monkeypatch):
    """
    Seconds of the container and those of the machine are not compared: the figure stays until the next look.
    """
    monkeypatch.setattr(psutil, "cpu_times", lambda: psutil._pslinux.scputimes(1, 0, 0, 80, 10, 0, 0, 0, 5, 0))
    clock, container = FakeClock(100.0), Limited()
    sampler = Sampler(container, clock)
    sampler.cpu_percent()
    clock.advance(10)
    container.used = 4.0
    before = sampler.cpu_percent()
    clock.advance(10)
    monkeypatch.setattr(container, "cpus", lambda: None)

    assert [before, sampler.cpu_percent()] == [80.0, 80.0]


def test_callers_do_not_reset_each_other():
    """
    `psutil.cpu_percent()`, which an application may call too, has another window.
    """
    clock, container = FakeClock(100.0), Limited()
    sampler = Sampler(container, clock)
    sampler.cpu_percent()
    psutil.cpu_percent()
    clock.advance(10)
    container.used = 5.0
    psutil.cpu_percent()

    assert 100.0 == sampler.cpu_percent()


def test_a_machine_without_limits(monkeypatch):
    """
    Its processors' times are taken: waiting for a disk is idle, and guests' time is not counted twice.
    """
    times = (
        [
            psutil._pslinux.scputimes(10, 0, 0, 80, 10, 0, 0, 0, 5, 0),
            psutil._pslinux.scputimes(25, 0, 5, 150, 20, 0, 0, 0, 10, 0),
        ]
        if hasattr(psutil, "_pslinux")
        else []
    )
    if not times:
        pytest.importorskip("psutil._pslinux")
    monkeypatch.setattr(psutil, "cpu_times", lambda: times.pop(0))
    clock = FakeClock(0.0)
    sampler = Sampler(SimpleNamespace(cpus=lambda: None), clock)
    sampler.cpu_percent()
    clock.advance(5)

    assert 20.0 == sampler.cpu_percent()


def test_a_containers_limit_is_the_total():
    """
    Where the container may use less than the machine has, that is the total.
    """
    sampler = Sampler(Limited())

    assert {"used_bytes": 100, "available_bytes": 900, "total_bytes": 1000} == sampler.memory()


def test_what_is_not_told_is_left_out(monkeypatch):
    """
    Without swap, load, network and a path, their figures are absent, in the data and on the page.
    """
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=0, total=0))
    monkeypatch.setattr(psutil, "net_io_counters", lambda nowrap: None)
    monkeypatch.delattr(os, "getloadavg")
    with isolated_runtime(disk_paths={"gone": "/nowhere/at/all"}) as isolated:
        found = system.snapshot()
        names = {family.name for family in isolated.registry.collect()}

    assert ({}, set()) == (found["disks"], {"swap", "load", "network_errors"} & found.keys())
    assert set() == names & {
        "system_swap_total_bytes",
        "system_load_average",
        "system_network_errors",
        "system_disk_usage_bytes",
    }


def test_disks_and_files(tmp_path):
    """
    A label of `disk_paths` shows a disk, or a file's own size.
    """
    (tmp_path / "app.db").write_bytes(b"x" * 4321)
    with isolated_runtime(disk_paths={"data": str(tmp_path), "database": str(tmp_path / "app.db")}) as isolated:
        value = isolated.value

        assert 4321.0 == value("system_disk_usage_bytes", path="database")
        assert None is value("system_disk_total_bytes", path="database")
        assert 0 < value("system_disk_usage_bytes", path="data") < value("system_disk_total_bytes", path="data")


def test_a_scrape_waits_for_nothing(monkeypatch):
    """
    No figure of the page or of the snapshot sleeps, or asks psutil for an interval.
    """

    def never(*args, **kwargs):
        raise AssertionError("it waits")

    with isolated_runtime() as isolated:
        monkeypatch.setattr(time, "sleep", never)
        for module in [module for name, module in sys.modules.items() if name.startswith("obskit.")]:
            if getattr(module, "rest", None) is rest and module is not exposition:  # which has a page give way
                monkeypatch.setattr(module, "rest", never)
        monkeypatch.setattr(psutil, "cpu_percent", never)
        monkeypatch.setattr(psutil.Process, "cpu_percent", never)
        list(isolated.registry.collect())
        found = system.snapshot()

    assert "process" in found


def test_a_database_file_is_as_large_as_its_log_too(tmp_path):
    """
    What a SQLite database takes is its file and its write-ahead log; that of a file that is not there stays out.
    """
    path = tmp_path / "app.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE plants (name)")
    db.commit()
    sizes = [os.path.getsize(name) for name in (path, f"{path}-wal")]
    with isolated_runtime(disk_paths={"database": str(path), "nowhere": str(tmp_path / "none")}) as isolated:
        shown = isolated.value("system_disk_usage_bytes", path="database")
        found = system.snapshot()["disks"]
    db.close()

    assert min(sizes) > 0
    assert (float(sum(sizes)), {"database": {"used_bytes": sum(sizes)}}) == (shown, found)


def test_a_snapshot_tells_version_uptime_and_what_is_free():
    """
    The application's version, for how long the process has run, and available memory and free space are in it.
    """
    with isolated_runtime(version="1.2"):
        found = system.snapshot()
    after = system.snapshot()

    assert ("1.2", False) == (found["version"], "version" in after)
    assert found["process"]["uptime_seconds"] > 0
    assert 0 < found["memory"]["available_bytes"] < found["memory"]["total_bytes"]
    assert 0 < found["disks"]["/"]["free_bytes"] < found["disks"]["/"]["total_bytes"]
