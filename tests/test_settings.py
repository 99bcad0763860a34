"""
Settings are read once: arguments beat variables beat defaults, and a mistake says what would be right.
"""

import dataclasses
import ipaddress
import os
import re
import subprocess
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest

import obskit
from obskit.errors import ConfigurationError, UnknownSettingError
from obskit.fields import default_of, duration
from obskit.logs.settings import LogSettings
from obskit.settings import SECTIONS, Settings
from obskit.settings_arguments import SettingsArguments
from obskit.web.gate import Gate

PACKAGE = Path(obskit.__file__).parent
PROBE = re.compile("^/probe")


CHANNELS = (
    "a mapping of logger names to files, such as {'security': {'file': 'logs/security.jsonl', 'keep_days': 365}}; "
    "beside the file: rotate_bytes, rotate_daily, keep_files, keep_days, gzip, archive_dir, archive_after, found dict"
)
OUTPUTS = (
    "a list of further outputs, such as [{'format': 'console', 'stream': 'stderr'}, {'format': 'json', 'file': "
    "'logs/app.jsonl'}]; each takes a file or a stream, and format, schema, level, queue, rotate_bytes, rotate_daily, "
    "keep_files, keep_days, gzip, archive_dir, archive_after, found list"
)
BAD_OUTPUTS = (
    ["console"],
    [{"format": "xml"}],
    [{"schema": "gelf"}],
    [{"level": "loud"}],
    [{"stream": "stdin"}],
    [{"path": "a.jsonl"}],
    [{"file": "a", "stream": "stderr"}],
    [{"queue": 0}],
    [{"archive_after": 30}],
)
AGE = "an age such as '30d', '12h', '15m' or '90s', or a timedelta"
BAD_AGES = ("", "30", "d", "30 d", "1w", "-1d", "0d", "1e3d", "30d\n", "٣d", "999999999d", True, timedelta(0), [30])
BAD_CHANNELS = (
    {"a": {}},
    {"a": "a.jsonl"},
    {"a": {"file": ""}},
    {"a": {"file": "a", "keep_days": 0}},
    {"a": {"file": "a", "keep": 1}},
)
HOSTS = (
    "host names such as ('stock.internal', '*.shop.example', 'localhost:8080'), without a scheme or a path, found list"
)
BAD_HOSTS = ("http://a", "a/b", "a*", "*", "a:port", "a b", "", "a@b", "::1")


def read(environ=None, **given):
    return Settings.read(given, environ or {})


@pytest.mark.parametrize(
    ("environ", "given", "expected"),
    [
        ({}, {}, "/metrics"),
        ({"OBSKIT_METRICS_PATH": "/variable"}, {}, "/variable"),
        ({"OBSKIT_METRICS_PATH": "/variable"}, {"metrics_path": "/argument"}, "/argument"),
    ],
)
def test_arguments_beat_variables_beat_defaults(environ, given, expected):
    """
    The default holds until a variable says otherwise, and that until an argument does.
    """
    assert expected == read(environ, **given).metrics_path


@pytest.mark.parametrize(
    ("environ", "given", "expected"),
    [
        ({}, {}, "serve"),
        ({"OTEL_SERVICE_NAME": "shop"}, {}, "shop"),
        ({"OTEL_SERVICE_NAME": "shop", "OBSKIT_SERVICE": "till"}, {}, "till"),
        ({"OTEL_SERVICE_NAME": "shop", "OBSKIT_SERVICE": "till"}, {"service": "desk"}, "desk"),
    ],
)
def test_a_service_has_a_name(monkeypatch, environ, given, expected):
    """
    Without a setting the service is called as OpenTelemetry's variable says, else after the program.
    """
    monkeypatch.setattr(sys, "argv", ["/opt/shop/serve.py"])

    assert expected == read(environ, **given).service


@pytest.mark.parametrize("setting", dataclasses.fields(Settings), ids=lambda setting: setting.name)
def test_a_default_is_a_value_that_could_be_given(setting):
    """
    Each default passes its own check, or says that nothing is set, and each setting says what it means.
    """
    default = default_of(setting)
    checked = default if default in (None, "") else setting.metadata["check"](default)

    assert default == checked
    assert setting.metadata["doc"].endswith(".")


def choices(hint):
    """
    List the members of a union; another type is its only one.
    """
    return set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}


def test_arguments_are_typed_as_settings():
    """
    What `configure()` is typed to take has every setting, and for each the plain types of its value, None included.
    """
    taken, kept = get_type_hints(SettingsArguments), get_type_hints(Settings)
    plain = {bool, float, int, str, NoneType}

    assert [field.name for field in dataclasses.fields(Settings)] == list(taken)
    assert [] == [name for name in taken if choices(kept[name]) & plain - choices(taken[name])]
    assert [] == [name for name in taken if NoneType in choices(taken[name]) - choices(kept[name])]


def test_settings_never_change():
    """
    What is built is frozen.
    """
    settings = read()

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.service = "other"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("ENABLED", "0", False),
        ("ENABLED", "Off", False),
        ("SIZE_METRICS", "yes", True),
        ("MAX_LABEL_SETS", "50", 50),
        ("TRACE_RATIO", "0.25", 0.25),
        ("SLOW_REQUEST_MS", "none", None),
        ("METRICS_PATH", "None", None),
        ("LOG_CLIENT", "none", "none"),
        ("EXCLUDE", "/static, /assets,", ("/static", "/assets")),
        ("HTTP_BUCKETS", "0.1,1,inf", (0.1, 1.0)),
        ("METRIC_NAMES", '{"http_requests_total": null}', {"http_requests_total": None}),
        ("LOG_LEVEL", "warning", "WARNING"),
        ("LOG_LEVELS", '{"shop": "debug"}', {"shop": "DEBUG"}),
        ("LOG_ROTATE_BYTES", "none", None),
        ("LOG_KEEP_DAYS", "none", None),
        ("LOG_KEEP_FILES", "3", 3),
        ("LOG_SAMPLE_FIRST", "none", None),
        ("LOG_QUEUE", "1000", 1000),
        (
            "LOG_CHANNELS",
            '{"security": {"file": "s.jsonl", "gzip": "yes"}}',
            {"security": {"file": "s.jsonl", "gzip": True}},
        ),
        (
            "LOG_OUTPUTS",
            '[{"format": "console", "stream": "stderr", "level": "warning"}, {"file": "a.jsonl", "gzip": "7d"}]',
            (
                {"format": "console", "stream": "stderr", "level": "WARNING"},
                {"file": "a.jsonl", "gzip": timedelta(days=7)},
            ),
        ),
        ("LOG_ARCHIVE_AFTER", "1.5h", timedelta(minutes=90)),
        ("LOG_GZIP", "90s", timedelta(seconds=90)),
        ("LOG_GZIP", "1", True),
        ("ACCESS_LOG_SAMPLE", '{"/poll": 100}', {"/poll": 100}),
        ("REDACT_KEYS", "iban, birth_date", ("iban", "birth_date")),
        ("PROPAGATE_TO", "Stock.Internal,*.shop.example,[::1]:80", ("stock.internal", "*.shop.example", "[::1]:80")),
        ("TRUSTED_PROXIES", "10.0.0.0/8,::1", (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))),
    ],
)
def test_variables_are_text_lists_or_json(variable, text, expected):
    """
    Flags, numbers, comma-separated tuples and JSON mappings are read from variables; `none` switches off.
    """
    assert expected == getattr(read({"OBSKIT_" + variable: text}), variable.lower())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("service", 7, "service=7: expected a non-empty string, found int"),
        ("service", "", "service='': expected a non-empty string, found str"),
        ("enabled", 1, "enabled=1: expected True or False, found int"),
        ("enabled", "maybe", "enabled='maybe': expected true or false (1/0, yes/no, on/off), found str"),
        ("trace_ratio", 1.5, "trace_ratio=1.5: expected a ratio from 0 to 1, found float"),
        ("trace_ratio", float("nan"), "trace_ratio=nan: expected a ratio from 0 to 1, found float"),
        (
            "log_level",
            "loud",
            "log_level='loud': expected one of 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', found str",
        ),
        (
            "log_levels",
            {"shop": 10},
            "log_levels={'shop': 10}: expected a mapping of logger names to levels, such as "
            "{'sqlalchemy.engine': 'WARNING'}, found dict",
        ),
        ("log_format", "xml", "log_format='xml': expected one of 'json', 'console', found str"),
        ("log_schema", "gelf", "log_schema='gelf': expected one of 'obskit', 'ecs', 'otel', found str"),
        (
            "log_rotate_bytes",
            10,
            "log_rotate_bytes=10: expected a size in bytes from 1 KiB to 1 TiB, or None for no limit, found int",
        ),
        *(("log_channels", value, f"log_channels={value!r}: expected {CHANNELS}") for value in BAD_CHANNELS),
        *(("log_outputs", value, f"log_outputs={value!r}: expected {OUTPUTS}") for value in BAD_OUTPUTS),
        *(
            ("log_archive_after", value, f"log_archive_after={value!r}: expected {AGE}, found {type(value).__name__}")
            for value in BAD_AGES
        ),
        (
            "log_archive_after",
            30,
            f"log_archive_after=30: expected {AGE}, since 30 may be '30s' or '30d', found int",
        ),
        ("log_archive_dir", "", "log_archive_dir='': expected a path of a folder, found str"),
        ("log_gzip", 7, "log_gzip=7: expected True or False, or from which age on, such as '7d', found int"),
        *(("propagate_to", [value], f"propagate_to=[{value!r}]: expected {HOSTS}") for value in BAD_HOSTS),
        (
            "access_log_sample",
            {"/poll": 0},
            "access_log_sample={'/poll': 0}: expected a mapping of route templates to how many lines one stands for, "
            "such as {'/poll/{device_id}': 100}, found dict",
        ),
        (
            "redact_keys",
            "iban",
            "redact_keys='iban': expected names of fields such as ('iban', 'birth_date'), found str",
        ),
        ("max_label_sets", 0, "max_label_sets=0: expected a whole number from 1 to 1,000,000, found int"),
        ("max_label_sets", 1.5, "max_label_sets=1.5: expected a whole number from 1 to 1,000,000, found float"),
        (
            "max_label_sets",
            float("inf"),
            "max_label_sets=inf: expected a whole number from 1 to 1,000,000, found float",
        ),
        ("max_label_sets", True, "max_label_sets=True: expected a whole number from 1 to 1,000,000, found bool"),
        ("log_client", "hidden", "log_client='hidden': expected one of 'masked', 'full', 'none', found str"),
        ("registry", {}, "registry={}: expected a prometheus_client CollectorRegistry, found dict"),
        (
            "namespace",
            "my-shop",
            "namespace='my-shop': expected a Prometheus name prefix such as 'shop' (letters, digits and underscores), "
            "found str",
        ),
        (
            "metrics_path",
            "metrics",
            "metrics_path='metrics': expected a URL path with a leading slash and no trailing one, such as "
            "'/metrics', or None not to mount it, found str",
        ),
        (
            "trusted_proxies",
            ("10.0.0.0/64",),
            "trusted_proxies=('10.0.0.0/64',): expected networks such as ('10.0.0.0/8', '127.0.0.1'), found tuple",
        ),
        (
            "tracing",
            "jaeger",
            "tracing='jaeger': expected 'otlp', 'console', a tracer provider, or None to use the one that "
            "OpenTelemetry was given, found str",
        ),
        (
            "log_stream",
            "app.log",
            "log_stream='app.log': expected a stream with a write() method, or None for standard output, found str",
        ),
        (
            "request_hook",
            "hook",
            "request_hook='hook': expected a function that takes the finished HttpOperation, found str",
        ),
        (
            "gates",
            ["lockout"],
            "gates=['lockout']: expected objects with a method admit(request), as obskit.Gate has it, found list",
        ),
        (
            "gates",
            (Gate,),
            f"gates=({Gate!r},): expected objects with a method admit(request), as obskit.Gate has it, found tuple",
        ),
        (
            "slow_request_ms",
            -1,
            "slow_request_ms=-1: expected milliseconds from 0 to a day, or None for off, found int",
        ),
        (
            "metric_names",
            {"http_requests_total": "http requests"},
            "metric_names={'http_requests_total': 'http requests'}: expected new names of letters, digits and "
            "underscores, such as {'http_requests_total': 'requests_total'}, or None, found dict",
        ),
        (
            "log_names",
            {"duration_ms": 5},
            "log_names={'duration_ms': 5}: expected a mapping of names to new names (or None to leave one out), such "
            "as {'duration_ms': 'response_time'}, found dict",
        ),
    ],
)
def test_a_wrong_value_says_what_is_right(name, value, message):
    """
    A value of the wrong type or range is an error that names the setting, the value and what is expected.
    """
    with pytest.raises(ConfigurationError) as raised:
        read(**{name: value})

    assert message == str(raised.value)


@pytest.mark.parametrize(
    "bounds", [(), (float("inf"),), (1.0, 1.0), (2.0, 1.0), ("a",), (float("nan"),), (0.1, float("nan")), (10**400,), 5]
)
def test_bucket_bounds_rise(bounds):
    """
    Bounds that are none, no numbers or do not rise are refused.
    """
    with pytest.raises(ConfigurationError, match="expected at least one bucket bound in seconds, rising"):
        read(http_buckets=bounds)


@pytest.mark.parametrize("exclude", ["/static", ("static",), (re.compile(b"^/x"),), (5,)])
def test_exclude_takes_what_can_be_looked_for_in_a_path(exclude):
    """
    Prefixes have a leading slash and patterns are of text, since a request's path is.
    """
    with pytest.raises(ConfigurationError, match="expected path prefixes with a leading slash, or compiled patterns"):
        read(exclude=exclude)


def test_exclude_keeps_patterns():
    """
    Compiled patterns stand beside prefixes.
    """
    assert ("/static", PROBE) == read(exclude=["/static", PROBE]).exclude


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        (
            "OBSKIT_MAX_LABEL_SETS",
            "many",
            "OBSKIT_MAX_LABEL_SETS='many': expected a whole number from 1 to 1,000,000, found str",
        ),
        ("OBSKIT_ENABLED", "", "OBSKIT_ENABLED='': expected true or false (1/0, yes/no, on/off), found str"),
        (
            "OBSKIT_LOG_NAMES",
            "{",
            "OBSKIT_LOG_NAMES='{': expected a JSON object: Expecting property name enclosed in double quotes: line 1 "
            "column 2 (char 1)",
        ),
    ],
)
def test_a_wrong_variable_is_named(variable, text, message):
    """
    A variable's wrong value is the same error, under the variable's name.
    """
    with pytest.raises(ConfigurationError) as raised:
        read({variable: text})

    assert message == str(raised.value)


@pytest.mark.parametrize("name", ["version", "environment"])
def test_an_empty_variable_is_unset(name):
    """
    What a deployment fills from a variable that is not set there is as if it were not given.
    """
    assert getattr(read(), name) == getattr(read({f"OBSKIT_{name.upper()}": ""}), name)


def test_an_empty_token_is_an_error():
    """
    An empty token does not open the page.
    """
    with pytest.raises(ConfigurationError) as raised:
        read({"OBSKIT_METRICS_TOKEN": ""})

    assert "OBSKIT_METRICS_TOKEN=<hidden>: expected a non-empty string, found str" == str(raised.value)


def test_a_long_value_is_cut_in_a_message():
    """
    A message shows 80 characters of a value.
    """
    with pytest.raises(ConfigurationError) as raised:
        read(namespace="-" * 500)

    assert str(raised.value).startswith("namespace='" + "-" * 76 + "...: expected")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("namespce", "there is no setting 'namespce'; did you mean 'namespace'?"),
        ("metric_path", "there is no setting 'metric_path'; did you mean 'metrics_path'?"),
        ("zzz", "there is no setting 'zzz'; docs/reference/settings.md lists them all"),
    ],
)
def test_an_unknown_argument_is_an_error_with_the_nearest_name(name, message):
    """
    An argument that is no setting raises, and suggests one where it is near.
    """
    with pytest.raises(UnknownSettingError) as raised:
        read(**{name: 1})

    assert message == str(raised.value)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (
            "OBSKIT_NAMESPCE",
            "obskit: OBSKIT_NAMESPCE is set, but there is no such setting; did you mean 'OBSKIT_NAMESPACE'?",
        ),
        (
            "OBSKIT_ZZZ",
            "obskit: OBSKIT_ZZZ is set, but there is no such setting; docs/reference/settings.md lists them all",
        ),
    ],
)
def test_an_unknown_variable_is_one_warning(variable, message):
    """
    A stray variable does not stop a start; it is one warning, with the nearest name.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = read({variable: "1", "PATH": "x"})

    assert [message] == [str(warning.message) for warning in caught]
    assert settings.namespace == ""


def test_what_no_variable_can_say_has_none():
    """
    An object cannot come from a variable, so its name in the environment is a stray one.
    """
    with pytest.warns(UserWarning, match="OBSKIT_REGISTRY is set, but there is no such setting"):
        settings = read({"OBSKIT_REGISTRY": "default"})

    assert settings.registry is None


def test_no_message_shows_the_token():
    """
    The metrics token is in no error and in no repr.
    """
    with pytest.raises(ConfigurationError) as raised:
        read(metrics_token=b"s3cret")

    assert str(raised.value) == "metrics_token=<hidden>: expected a non-empty string, found bytes"
    assert "s3cret" not in repr(read(metrics_token="s3cret"))


def test_nothing_is_read_at_import():
    """
    A wrong variable is no matter until `configure()`.
    """
    script = "import obskit, obskit.settings, obskit.runtime, obskit.testing"
    environ = {**os.environ, "OBSKIT_MAX_LABEL_SETS": "many", "OBSKIT_ZZZ": "1"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], env=environ, capture_output=True, text=True)

    assert (0, "") == (done.returncode, done.stderr)


def deep(kind, depth=3000):
    """
    Nest a value in lists, dicts or tuples.
    """
    value = "x"
    for _ in range(depth):
        value = {"list": [value], "dict": {"x": value}, "tuple": (value,)}[kind]
    return value


def itself():
    inside = {}
    inside["x"] = [inside]
    return inside


class Unsayable:
    """
    Raise where it is to be shown.
    """

    def __repr__(self):
        raise TypeError("its own")


JSON = [setting.name for setting in dataclasses.fields(Settings) if setting.metadata["env"] == "json"]
OPEN = {"registry", "log_stream"}  # whatever the application gives is used as what it is


@pytest.mark.parametrize("text", ["[" * 3000 + "]" * 3000, '{"x":' * 3000 + "1" + "}" * 3000, "[" * 100_000])
@pytest.mark.parametrize("name", JSON)
def test_json_that_is_nested_deep_is_refused(name, text):
    """
    A variable with JSON of any depth is a configuration error, and no RecursionError.
    """
    with pytest.raises(ConfigurationError, match=f"OBSKIT_{name.upper()}="):
        Settings.read({}, environ={f"OBSKIT_{name.upper()}": text})


@pytest.mark.parametrize("kind", ["list", "dict", "tuple", "itself", "unsayable"])
@pytest.mark.parametrize("name", sorted({setting.name for setting in dataclasses.fields(Settings)} - OPEN))
def test_values_that_cannot_be_shown_are_refused(name, kind):
    """
    An argument of any depth, in itself, or that raises where it is shown, is a configuration error.
    """
    value = {"itself": itself, "unsayable": Unsayable}.get(kind, lambda: deep(kind))()
    with pytest.raises(ConfigurationError):
        Settings.read({name: value}, environ={})


# Sections


def test_each_setting_is_declared_with_one_subject():
    """
    The sections have all settings together, none twice, and each folder's `settings.py` is among them.
    """
    declared = [setting.name for section in SECTIONS for setting in dataclasses.fields(section)]
    folders = {path.parent.name for path in PACKAGE.glob("*/settings.py")}

    assert [setting.name for setting in dataclasses.fields(Settings)] == declared
    assert len(set(declared)) == len(declared)
    assert folders == {section.__module__.split(".")[1] for section in SECTIONS} - {"service_settings"}
    assert len({section.subject for section in SECTIONS}) == len(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_a_part_is_given_its_own_section(section):
    """
    What a subject's code is given has its own settings, as they were read, and no other's.
    """
    settings = read()
    part = settings.of(section)
    names = {setting.name for setting in dataclasses.fields(section)}

    assert type(part) is section
    assert {name: getattr(settings, name) for name in names} == vars(part)


def test_reading_settings_imports_no_part():
    """
    Importing the settings of every subject imports what declares them alone.
    """
    script = "import sys, obskit.settings; print(*(name for name in sys.modules if name.startswith('obskit.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    folders = {path.parent.name for path in PACKAGE.glob("*/settings.py")}
    declared = {f"obskit.{folder}{end}" for folder in folders for end in ("", ".settings")}
    ground = {"obskit._version", "obskit.errors", "obskit.fields", "obskit.default_service"}
    ground |= {
        "obskit.time",
        "obskit.time.durations",
        "obskit.late_patterns",
        "obskit.lazy_names",
        "obskit.service_settings",
        "obskit.settings",
    }

    assert declared | ground == set(done.stdout.split())


def test_sections_are_compared_by_value():
    """
    Settings with the same values are equal, be they objects of their own.
    """
    assert read() == read()
    assert read() != read(log_level="ERROR")
    assert read() != read().of(LogSettings)


def test_a_section_takes_its_own_settings_alone():
    """
    What a section has not is no argument of it.
    """
    with pytest.raises(TypeError, match=r"LogSettings\(\) got an unexpected keyword argument 'prices'"):
        LogSettings(prices={})


# Secrets

SECRETS = [setting.name for setting in dataclasses.fields(Settings) if setting.metadata["secret"]]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(("content", "expected"), [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("a\n\n", "a\n")])
def test_a_secret_may_come_from_a_file(tmp_path, name, content, expected):
    """
    `file:` and a path is the file's text without its last line end, as an argument and as a variable.
    """
    path = tmp_path / "token"
    path.write_bytes(content.encode())

    assert expected == getattr(read(**{name: f"file:{path}"}), name)
    assert expected == getattr(read({f"OBSKIT_{name.upper()}": f"file:{path}"}), name)


def fifo(path):
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        fifo,
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("x" * 65_537),
    ],
    ids=["missing", "folder", "fifo", "binary", "large"],
)
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_cannot_be_read_is_an_error(tmp_path, name, make):
    """
    What is no text file of at most 64 kB is an error that shows neither value nor path, and nothing is waited for.
    """
    path = tmp_path / "token"
    make(path)
    with pytest.raises(ConfigurationError) as raised:
        read(**{name: f"file:{path}"})

    assert (
        f"{name}=<hidden>: expected 'file:' and the absolute path of a text file of at most 64 kB that this process "
        "may read, found str"
    ) == str(raised.value)
    assert raised.value.__cause__ is None


def test_a_folder_for_a_secret_leaves_no_descriptor(tmp_path):
    """
    What is tried again and again does not use up what a process may have open.
    """
    before = os.open(os.devnull, os.O_RDONLY)
    os.close(before)
    for _ in range(3):
        with pytest.raises(ConfigurationError):
            read(metrics_token=f"file:{tmp_path}")
    after = os.open(os.devnull, os.O_RDONLY)
    os.close(after)

    assert before == after


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_secret_of_a_file_is_an_error(tmp_path, name, text):
    """
    An empty file does not open a page either.
    """
    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=f"{name}=<hidden>: expected a non-empty string"):
        read(**{name: f"file:{path}"})


def test_a_relative_path_of_a_secret_is_an_error(tmp_path, monkeypatch):
    """
    Which file a secret comes from does not depend on where the program was started.
    """
    (tmp_path / "token").write_text("s3cret")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="the absolute path of a text file"):
        read(metrics_token="file:token")


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_shows_a_secret(tmp_path, name):
    """
    A secret from a file is in no representation, of the whole and of the section.
    """
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    settings = read(**{name: f"file:{path}"})
    [section] = [section for section in SECTIONS if name in section.__dataclass_fields__]

    assert "s3cret" not in repr(settings)
    assert "s3cret" not in repr(settings.of(section))


# Lengths of time

LENGTH = duration("a length of time")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("2w", timedelta(days=14)),
        ("250ms", timedelta(milliseconds=250)),
        (timedelta(days=1), timedelta(days=1)),
    ],
)
def test_a_length_of_time_is_a_text_with_units_or_a_timedelta(value, expected):
    """
    Whatever a duration may be elsewhere, it may be as a setting.
    """
    assert expected == LENGTH(value)


@pytest.mark.parametrize("value", ["", "15", "0s", "-1s", "m", timedelta(0), timedelta(days=-1), "200000w", True, [1]])
def test_what_is_no_length_of_time_is_refused(value):
    """
    Nothing, none and for ever are no durations.
    """
    with pytest.raises(ValueError, match=r"^a length of time$"):
        LENGTH(value)


@pytest.mark.parametrize("value", [15, 1.5, float("nan")])
def test_a_bare_number_has_two_readings(value):
    """
    A number without a unit is refused, and the error shows what it may be.
    """
    with pytest.raises(ValueError, match=rf"^a length of time, since {value} may be '{value}s' or '{value}d'$"):
        LENGTH(value)
