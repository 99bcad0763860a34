"""
The command line: subjects are found, what is wrong is told with what is right, and results can be piped.
"""

import json
import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from obskit.cli.front import SUBJECTS, main
from obskit.storage.own_sqlite import OwnDatabase, Schema
from obskit.storage.state_folder import StateFolder

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "obskit"]
APPLICATION = """
import obskit

print("printed by the application")

def plain(environ, start_response):
    return [b""]

app = obskit.instrument(plain, service="shop", state_dir={state!r}, metrics_token="s3cret-token")
obskit.health.add("stock", lambda: True)

def create():
    return app
"""


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """
    Take this test's folder for the user's state, and for where commands are given.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    for name in ("OBSKIT_STATE_DIR", "STATE_DIRECTORY", "OBSKIT_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shell(capsys):
    """
    Carry out a command; what it printed, and to where.
    """

    def shell(*arguments):
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return shell


def program(*arguments, **given):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], **{"capture_output": True, "text": True, "timeout": 60, **given}
    )


def application(tmp_path, text=APPLICATION):
    (tmp_path / "the_shop.py").write_text(text.replace("{state!r}", repr(str(tmp_path / "state"))))


@pytest.fixture
def database(tmp_path):
    import sqlite3

    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE plants (x)")
    db.close()
    return path


# The front


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_the_help_lists_the_subjects(shell, arguments):
    """
    Each with what it is for.
    """
    status, out, err = shell(*arguments)

    assert (0, "") == (status, err)
    assert [] == [name for name, (_, purpose) in SUBJECTS.items() if f"  {name}" not in out or purpose not in out]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_subject_has_a_help_and_json(shell, subject):
    """
    By its own option, and by `help SUBJECT`; no line is wider than the terminal.
    """
    asked = shell(subject, "--help")

    assert asked == shell("help", subject)
    assert 0 == asked[0]
    assert f"obskit {subject}" in asked[1]
    assert "--json" in asked[1]
    assert max(map(len, asked[1].splitlines())) <= 80


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_is_loaded_when_it_is_asked_for(subject):
    """
    Neither for the help nor for another.
    """
    code = (
        "import sys; from obskit.cli.front import main; main(['--help']);"
        f"print({SUBJECTS[subject][0]!r} in sys.modules, 'obskit.runtime' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert "False False\n" == done.stderr


def test_nothing_is_asked_for(shell):
    """
    It is wrong use, and the help says what right use is.
    """
    status, out, err = shell()

    assert (2, "") == (status, out)
    assert "obskit SUBJECT" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["sqlte"],
            "obskit: no subject 'sqlte'; did you mean sqlite?\nThe subjects are: check, export, history, sqlite\n",
        ),
        (["zzz"], "obskit: no subject 'zzz'\nThe subjects are: check, export, history, sqlite\n"),
        (["sqlite", "x", "--jsn"], "obskit sqlite: no option --jsn; did you mean --json?\n"),
        (["sqlite", "x", "--quick-chek=1"], "obskit sqlite: no option --quick-chek; did you mean --quick-check?\n"),
        (["sqlite", "x", "--qui"], "obskit sqlite: no option --qui"),
        (["sqlite"], "obskit sqlite: the following arguments are required: FILE\n"),
        (["sqlite", "x", "--timeout", "soon"], "obskit sqlite: argument --timeout: invalid float value: 'soon'\n"),
        (["--versio"], "obskit: no option --versio; did you mean --version?\n"),
        (["check", "--app", "shop"], "obskit: --app is MODULE:NAME, such as shop.app:app, and not 'shop'\n"),
        (["check", "--app", "a:b", "--service", "c"], "obskit: --app says which service it is"),
    ],
)
def test_wrong_use_says_what_is_right(shell, arguments, expected):
    """
    With the nearest name, on the error stream, and the status 2.
    """
    status, out, err = shell(*arguments)

    assert (2, "") == (status, out)
    assert err.startswith(expected)


def test_the_version_is_told(shell):
    """
    On a line of its own.
    """
    import obskit

    assert (0, f"obskit {obskit.__version__}\n", "") == shell("--version")


def test_the_installed_command_is_the_same(shell):
    """
    `obskit` leads where `python -m obskit` does.
    """
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    module, _, name = scripts["obskit"].partition(":")

    assert {"obskit"} == set(scripts)
    assert getattr(import_module(module), name) is main
    assert program("--version").stdout == shell("--version")[1]


@pytest.mark.parametrize("arguments", [["--help"], ["sqlite", "--help"], ["sqlite", "shop.db", "--json"]])
def test_a_reader_that_has_enough_is_no_error(database, arguments):
    """
    As `head` is: no traceback, nothing on the error stream.
    """
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = program(*arguments, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)

    assert "" == done.stderr
    assert 0 == done.returncode


def test_a_terminal_without_the_sign_gets_its_number(tmp_path):
    """
    Output in ASCII is no traceback.
    """
    done = program("sqlite", "café.db", env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})

    assert "caf\\xe9.db" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("set_to", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}], ids=str)
def test_results_have_no_colours(database, set_to):
    """
    Whoever pipes them gets text, and `NO_COLOR` is heard everywhere.
    """
    assert "\x1b" not in program("sqlite", database, env={**os.environ, **set_to}).stdout
    assert "\x1b" not in program("--help", env={**os.environ, "NO_COLOR": "1"}).stdout


# sqlite


def test_the_doctor_is_a_subject(shell, database):
    """
    With its reports, options and status; its former doors stay.
    """
    status, out, err = shell("sqlite", database, "--quick-check", "--json")
    doors = [
        subprocess.run([sys.executable, "-m", door, database, "--json"], capture_output=True, text=True, timeout=60)
        for door in ("obskit.db.doctor", "obskit.sqlite_doctor")
    ]

    assert (0, "ok", "") == (status, json.loads(out)["status"], err)
    assert [(0, "ok")] * 2 == [(door.returncode, json.loads(door.stdout)["status"]) for door in doors]
    assert 1 == shell("sqlite", "missing.db")[0]
    assert not Path("missing.db").exists()


# check


def test_an_application_is_checked_as_a_server_would_have_it(tmp_path):
    """
    What is on is the result, whatever the application prints, and a secret is no part of it.
    """
    application(tmp_path)
    done = program("check", "--app", "the_shop:app", "--json")
    told = json.loads(done.stdout)

    assert 0 == done.returncode
    assert ("shop", "restricted", ["stock"]) == tuple(
        told["application"][name] for name in ("service", "metrics_access", "health_checks")
    )
    assert {"/metrics", "/health"} < set(told["application"]["routes"])
    assert {"folder": str(tmp_path / "state" / "shop"), "service": "shop", "is_there": False} == told["state"]
    assert [] == told["findings"]
    assert "printed by the application" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert not (tmp_path / "state").exists()
    text = program("check", "--app", "the_shop:create()").stdout
    assert "  service        shop\n" in text
    assert text.endswith("nothing was found\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app = 1", "nothing is on: the application does not call obskit.instrument() or configure()"),
        ("import nowhere.at_all", "it cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("1/0", "it cannot be imported: ZeroDivisionError: division by zero"),
        ("raise SystemExit('no settings')", "it cannot be imported: SystemExit: no settings"),
        ("import obskit; obskit.configure(servic='x')", "it does not start: UnknownSettingError: "),
        ("import obskit; obskit.configure(enabled=False); app = 1", "obskit is off: enabled=False (OBSKIT_ENABLED)"),
    ],
)
def test_what_is_wrong_with_an_application_is_found(tmp_path, text, expected):
    """
    The status is 1, and the reason is the result.
    """
    application(tmp_path, text)
    done = program("check", "--app", "the_shop:app", "--json")

    assert 1 == done.returncode
    assert json.loads(done.stdout)["findings"][0].startswith(expected)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("the_shp:app", "obskit: no module 'the_shp', looked for from "),
        ("the_shop.inner:app", "obskit: no module 'the_shop.inner', looked for from "),
        ("the_shop:ap", "obskit: the_shop has no 'ap'; did you mean app?\n"),
    ],
)
def test_an_application_that_is_not_there_is_wrong_use(tmp_path, name, expected):
    """
    With the nearest name of what is.
    """
    application(tmp_path, "app = 1")
    done = program("check", "--app", name)

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(expected)


def test_the_only_service_is_the_one_that_is_meant(shell, tmp_path, monkeypatch):
    """
    Of a folder that is named, or by the variable; else the user's.
    """
    StateFolder(tmp_path / "one", "shop").open(tmp_path)
    asked = shell("check", "--state-dir", tmp_path / "one", "--json")
    monkeypatch.setenv("OBSKIT_STATE_DIR", str(tmp_path / "one"))
    state = json.loads(asked[1])["state"]

    assert asked == shell("check", "--json") == shell("check", "--service", "shop", "--json")
    assert ("shop", str(tmp_path), True) == (state["service"], state["project"], state["is_there"])
    assert state["size_bytes"] > 0


def test_where_there_are_several_one_must_be_named(shell, tmp_path, monkeypatch):
    """
    The error lists them, and proposes the nearest; nothing is made.
    """
    monkeypatch.setenv("OBSKIT_STATE_DIR", str(tmp_path / "several"))
    for name in ("shop", "till"):
        StateFolder(tmp_path / "several", name).open()
    several, unknown = shell("check"), shell("check", "--service", "shpo")

    assert (2, "") == several[:2] == unknown[:2]
    assert f"several services have state in {tmp_path / 'several'}: say which with --service" in several[2]
    assert several[2].endswith("\nThere are: shop, till\n")
    assert "no state of 'shpo'" in unknown[2]
    assert "did you mean shop?" in unknown[2]
    monkeypatch.setenv("OBSKIT_STATE_DIR", str(tmp_path / "none"))
    for arguments in ([], ["--service", "shop"]):
        status, _, err = shell("check", *arguments)
        assert 2 == status
        assert str(tmp_path / "none") in err
    assert not (tmp_path / "none").exists()


def test_what_was_damaged_is_found(shell, tmp_path, monkeypatch):
    """
    A file that was set aside is named.
    """
    monkeypatch.setenv("OBSKIT_STATE_DIR", str(tmp_path / "one"))
    folder = StateFolder(tmp_path / "one", "shop").open()
    database = OwnDatabase(folder / "rows.sqlite3", Schema(("CREATE TABLE rows (x)",)), lambda *problem: None)
    for _ in range(2):
        with database.exclusively():
            database.transaction(lambda db: None)
        database.close()
        database.path.write_bytes(b"x" * 200)
    with database.exclusively():
        database.transaction(lambda db: None)
    database.close()
    status, out, _ = shell("check")

    assert 1 == status
    assert f"2 files in {folder} were damaged and set aside: rows.sqlite3.broken-" in out
