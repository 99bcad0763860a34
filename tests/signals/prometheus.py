"""
A Prometheus server of one's own, on a folder of blocks: where there is one on this machine.
"""

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

import servers
from free_ports import free_port


def found():
    """
    Return the folders with a server and promtool.
    """
    return [path.parent for path in servers.found("prometheus") if path.with_name("promtool").exists()]


def version_of(programs):
    """
    Return the version of a server, such as (2, 42, 0).
    """
    told = subprocess.run([programs / "prometheus", "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(int(part) for part in re.search(r"version (\d+)\.(\d+)\.(\d+)", told).groups())


@contextmanager
def serving(programs, folder, text, lookback):
    """
    Serve what a text in the OpenMetrics format has, and yield a function that asks for a range.
    """
    (folder / "samples.txt").write_text(text)
    make = [programs / "promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "samples.txt", folder / "data"]
    subprocess.run(make, check=True, capture_output=True, timeout=300)
    further = {"storage.tsdb.retention.time": "100y", "query.lookback-delta": lookback}
    with running(programs, folder, "global: {}\n", further) as address:
        yield lambda query, start, end, step: ask(address, query, start, end, step)


@contextmanager
def running(programs, folder, configuration, further):
    """
    Run a server with a configuration and further options, and yield its address.
    """
    (folder / "prometheus.yml").write_text(configuration)
    address = f"127.0.0.1:{free_port()}"
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
        "query.max-samples": 500_000_000,
        "log.level": "error",
        **further,
    }
    command = [programs / "prometheus", *(f"--{name}={value}" for name, value in options.items())]
    with (folder / "log.txt").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            wait_for(f"http://{address}/-/ready", server)
            yield address
        finally:
            server.terminate()


def wait_for(url, server):
    """
    Ask again until the server is ready, or has ended.
    """
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=60):
                return
        except (urllib.error.URLError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            try:
                server.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
    raise AssertionError("the server ended")


def ask(address, query, start, end, step):
    """
    Return the values by job, other labels, and time.
    """
    result = answer(address, "query_range", query=query, start=start, end=end, step=step)
    values = {}
    for series in result:
        labels = {name: value for name, value in series["metric"].items() if name not in ("instance", "__name__")}
        job = labels.pop("job")
        for at, value in series["values"]:
            values[job, tuple(sorted(labels.items())), at] = float(value)
    return values


def answer(address, path, **fields):
    """
    Return the series of a reply.
    """
    data = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(f"http://{address}/api/v1/{path}", data, timeout=300) as reply:
        return json.load(reply)["data"]["result"]


def get(address, path, **fields):
    """
    Return what the API answers.
    """
    url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(fields)}"
    with urllib.request.urlopen(url, timeout=60) as reply:
        return json.load(reply)["data"]


def without_figures(address, queries, visit, patience_seconds=60.0):
    """
    Visit and ask each query again, until it has figures; return those that have none in the end.
    """
    left, end = list(queries), time.monotonic() + patience_seconds
    while left and time.monotonic() < end:
        visit()
        left = [query for query in left if not get(address, "query", query=query)["result"]]
    return left
