"""
The files for Prometheus: what is written, that it is the same each time, and that writing it touches nothing.
"""

import json
import os
import subprocess
import sys

import pytest

import obskit
from obskit.cli.front import main
from obskit.errors import ExportError
from obskit.export.for_prometheus import prometheus_difference, prometheus_files, write_files
from obskit.testing import isolated_runtime

APPLICATION = """
import obskit

def plain(environ, start_response):
    return [b""]

obskit.objective("checkout", availability=0.999, endpoints=["/checkout"])
app = obskit.instrument(plain, service="shop", namespace="shop", state_dir={state!r}, metrics_token="s3cret-token")
"""
# Look around between the import of the application and the end of the command.
WATCHED = """
import json, os, sys, threading
from obskit.export import for_prometheus

seen = {}
files = for_prometheus.prometheus_files

def looked(*given):
    seen["threads"] = sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
    seen["sockets"] = [name for name in map(target, os.listdir("/proc/self/fd")) if name.startswith("socket:")]
    return files(*given)

def target(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""

for_prometheus.prometheus_files = looked
from obskit.cli.front import main
status = main(["export", "prometheus", "--app", "the_shop:app", "-o", "out"])
print(json.dumps({**seen, "status": status}), file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """
    Work in a folder with an application, as a user without any state.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "the_shop.py").write_text(APPLICATION.replace("{state!r}", repr(str(tmp_path / "state"))))
    return tmp_path


def command(*arguments, **environ):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, env={**os.environ, **environ}
    )
    return done.returncode, done.stdout, done.stderr


def export(*arguments, **environ):
    given = ("-m", "obskit", "export", "prometheus", "--app", "the_shop:app", "-o", "out", *arguments)
    return command(*given, **environ)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_application_gives_the_same_bytes(folder):
    """
    Whatever the order of hashes; --check finds no difference then, and nothing of a secret is in any file.
    """
    assert 0 == export(PYTHONHASHSEED="1")[0]
    first = contents(folder / "out")
    assert (0, "nothing has changed\n") == export("--check", PYTHONHASHSEED="2")[:2]
    (folder / "out/waiting.json").unlink()
    assert (1, "--- waiting.json (there)") == (lambda status, out, _: (status, out.split("\n")[0]))(*export("--check"))

    assert [] == [name for name, text in first.items() if b"s3cret" in text]
    assert {"prometheus.yml", "waiting.json", "runbooks/README.md"} < set(first)


def test_files_that_are_stale_are_shown(folder):
    """
    What is different, missing or left over is told; files of others are neither told nor removed.
    """
    with isolated_runtime(service="shop"):
        obskit.objective("checkout", availability=0.999)
        files = prometheus_files(["a:1"], False, [], "2.42", "runbooks")
        write_files("out", files)
        (folder / "out/waiting.json").unlink()
        (folder / "out/rules/old.rules.yml").write_text((folder / "out/rules/objectives.rules.yml").read_text())
        (folder / "out/rules/mine.rules.yml").write_text("groups: []\n")
        before = contents(folder / "out")
        files["prometheus.yml"] = files["prometheus.yml"].replace("a:1", "b:2")
        told = prometheus_difference("out", files).splitlines()

        assert ["prometheus.yml (there)", "rules/old.rules.yml (there)", "waiting.json (there)"] == [
            line.removeprefix("--- ") for line in told if line.startswith("--- ")
        ]
        assert ["-          - a:1", "+          - b:2"] == [line for line in told if line.endswith((":1", ":2"))]
        assert before == contents(folder / "out")

        write_files("out", files)

    assert {*before, "waiting.json"} - {"rules/old.rules.yml"} == set(contents(folder / "out"))
    assert "" == prometheus_difference("out", files)


@pytest.mark.parametrize("arguments", [(), ("--check",)])
def test_a_place_that_cannot_hold_files_is_wrong_use(folder, arguments):
    """
    It is told in words, and is not the status of files that are stale.
    """
    (folder / "out").write_text("a file")
    status, _, told = export(*arguments)

    assert 2 == status
    assert "obskit: -o out: Not a directory" in told or "obskit: -o out: File exists" in told


def test_files_go_where_the_caller_is(folder):
    """
    An application may change the folder of its process when it is imported.
    """
    (folder / "elsewhere").mkdir()
    with (folder / "the_shop.py").open("a") as file:
        file.write(f"\nimport os\nos.chdir({str(folder / 'elsewhere')!r})\n")
    status, shown, _ = export()

    assert (0, []) == (status, os.listdir(folder / "elsewhere"))
    assert (folder / "out/prometheus.yml").is_file()
    assert "out/prometheus.yml" in shown.split()


def test_nothing_is_touched(folder):
    """
    While files are written there is no thread, no socket and no state of the application.
    """
    status, _, told = command("-c", WATCHED)

    assert 0 == status
    assert {"threads": [], "sockets": [], "status": 0} == json.loads(told.splitlines()[-1])
    assert {"out", "the_shop.py"} == {*os.listdir(folder)} - {"__pycache__"}


def test_the_scrape_configuration_is_that_of_the_page(tmp_path):
    """
    Its path, how it is guarded, by https where that is said, and exporters beside it that are asked for.
    """
    with isolated_runtime(service="shop", metrics_path="/figures", metrics_token="s3cret"):
        obskit.export.prometheus(tmp_path, targets=["a:1", "[::1]:2"], tls=True, companions=["redis", "node"])

    assert (tmp_path / "prometheus.yml").read_text().partition("\n")[2] == (
        "global:\n  scrape_interval: 15s\n  evaluation_interval: 15s\n"
        "rule_files:\n  - rules/*.rules.yml\n"
        "scrape_configs:\n"
        "  - job_name: shop\n    metrics_path: /figures\n    scheme: https\n"
        "    authorization:\n      type: Bearer\n      credentials_file: metrics_token\n"
        "    static_configs:\n      - targets:\n          - a:1\n          - '[::1]:2'\n"
        "  - job_name: node\n    scrape_interval: 15s\n"
        "    static_configs:\n      - targets:\n          - localhost:9100\n"
        "  - job_name: redis\n    scrape_interval: 30s\n"
        "    static_configs:\n      - targets:\n          - localhost:9121\n"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"targets": "a:1"}, "targets='a:1': expected a list"),
        ({"targets": []}, "targets is empty"),
        ({"targets": ["http://a:1/metrics"]}, "targets has 'http://a:1/metrics': expected host and port"),
        ({"companions": ["nod"]}, "companions has 'nod', which is not known; did you mean 'node'?"),
        ({"companions": "node"}, "companions='node': expected a list"),
        ({"companions": ["redis", "shop"]}, "companions has 'shop', which is not known"),
        ({"target": "9.1"}, "target='9.1': files are written for Prometheus 2.42 to 2.55, 3.0 to 3.5"),
        ({"target": "2.41"}, "target='2.41': files are written for"),
        ({"target": "newest"}, "target='newest' is no version of Prometheus: write it as '2.42'"),
        ({"target": 3}, "target=3 is no version"),
    ],
)
def test_what_has_no_meaning_is_refused(tmp_path, given, expected):
    """
    With what was given, and what is right; nothing is written.
    """
    with isolated_runtime(), pytest.raises(ExportError) as refused:
        obskit.export.prometheus(tmp_path, **given)

    assert str(refused.value).startswith(expected)
    assert [] == os.listdir(tmp_path)


def test_nothing_is_written_of_nothing(tmp_path):
    """
    Without a runtime, without metrics, and with a page that is mounted nowhere.
    """
    with pytest.raises(ExportError, match=r"call obskit.instrument\(\) or configure\(\) first"):
        obskit.export.prometheus(tmp_path)
    with isolated_runtime(metrics=False), pytest.raises(ExportError, match="with metrics=True"):
        obskit.export.prometheus(tmp_path)
    with isolated_runtime(metrics_path=None), pytest.raises(ExportError, match="mounted nowhere"):
        obskit.export.prometheus(tmp_path)

    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["grafna"], "invalid choice: 'grafna'"),
        (["prometheus", "--app", "nowhere:app", "-o", "out"], "obskit: no module 'nowhere'"),
        (["prometheus", "--app", "the_shop:ap", "-o", "out"], "obskit: the_shop has no 'ap'; did you mean app?"),
        (["prometheus", "--app", "the_shop:app", "-o", "out", "--target", "9"], "obskit: ExportError: target='9'"),
    ],
)
def test_wrong_use_says_what_is_right(folder, capsys, monkeypatch, arguments, expected):
    """
    It ends with 2, and writes nothing.
    """
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "the_shop", raising=False)

    assert 2 == main(["export", *arguments])
    assert expected in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_a_service_has_no_companion_of_its_name(tmp_path):
    """
    Two jobs of one name are refused by Prometheus.
    """
    with isolated_runtime(service="node"), pytest.raises(ExportError, match="the service is called 'node', as one"):
        obskit.export.prometheus(tmp_path, companions=["node"])
