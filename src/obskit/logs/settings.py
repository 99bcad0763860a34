"""
Which lines are written, what they look like, and where they go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import IO, Any

from obskit.fields import (
    Check,
    Section,
    checked,
    count,
    duration,
    flag,
    having,
    items,
    mapping,
    new_names,
    number,
    one_of,
    path,
    section,
    setting,
    text,
)

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_NO_LIMIT = ", or None for no limit"
_OF_FILES = "rotate_bytes, rotate_daily, keep_files, keep_days, gzip, archive_dir, archive_after"
_CHANNELS = (
    "a mapping of logger names to files, such as {'security': {'file': 'logs/security.jsonl', 'keep_days': 365}}; "
    f"beside the file: {_OF_FILES}"
)
_OUTPUTS = (
    "a list of further outputs, such as [{'format': 'console', 'stream': 'stderr'}, {'format': 'json', 'file': "
    f"'logs/app.jsonl'}}]; each takes a file or a stream, and format, schema, level, queue, {_OF_FILES}"
)


_length_of_time = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])").fullmatch
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _age_seconds(value: Any) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    found = _length_of_time(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError
    return float(found[1]) * _SECONDS[found[2]]


def _level(value: Any) -> Any:
    return one_of(*LEVELS)(value.upper() if isinstance(value, str) else value)


def _gzip(value: Any) -> Any:
    if isinstance(value, timedelta) or (isinstance(value, str) and _length_of_time(value)):
        return _age(value)
    return checked("True or False, or from which age on, such as '7d'", flag)(value)


_levels = mapping(_level, "a mapping of logger names to levels, such as {'sqlalchemy.engine': 'WARNING'}")
_age = duration("an age such as '30d', '12h', '15m' or '90s', or a timedelta", _age_seconds)
_folder = path("a path of a folder")
_rotate_bytes = number(1024, 2**40, f"a size in bytes from 1 KiB to 1 TiB{_NO_LIMIT}", int)
_keep = count(100_000, _NO_LIMIT)
_waiting = count(10_000_000, ", or None for no queue", " of lines")
_format, _schema = one_of("json", "console"), one_of("obskit", "ecs", "otel")
_stream = having("write", what="a stream with a write() method, or None for standard output")
_milliseconds = number(0, 86_400_000, "milliseconds from 0 to a day, or None for off")
_sampled = mapping(
    count(1_000_000),
    "a mapping of route templates to how many lines one stands for, such as {'/poll/{device_id}': 100}",
)
_NONE_OF_FILES = frozenset(["keep_files", "keep_days", "archive_dir", "archive_after", "queue"])
_FILE_CHECKS: dict[str, Check] = {
    **{"file": text, "rotate_bytes": _rotate_bytes, "rotate_daily": flag, "keep_files": _keep, "keep_days": _keep},
    **{"gzip": _gzip, "archive_dir": _folder, "archive_after": _age},
}
_OUTPUT_CHECKS: dict[str, Check] = {
    **_FILE_CHECKS,
    "stream": lambda value: value if value in ("stdout", "stderr") else _stream(value),
    **{"format": _format, "schema": _schema, "level": _level, "queue": _waiting},
}


def _options(what: str, checks: Mapping[str, Check], is_whole: Check) -> Check:
    """
    Take a mapping of these options, of which `is_whole` says whether they go together.
    """

    def check(given: Any) -> dict[str, Any]:
        if not (isinstance(given, Mapping) and given.keys() <= checks.keys() and is_whole(given)):
            raise ValueError
        unset = {key for key, value in given.items() if value is None and key in _NONE_OF_FILES}
        return {key: None if key in unset else checks[key](value) for key, value in given.items()}

    return checked(what, check)


_channels = mapping(_options(_CHANNELS, _FILE_CHECKS, lambda given: "file" in given), _CHANNELS)
_outputs = items(_options(_OUTPUTS, _OUTPUT_CHECKS, lambda given: not {"file", "stream"} <= given.keys()), _OUTPUTS)


@section
class LogSettings(Section, subject="Lines"):
    """
    Which lines are written, what they look like, and where they go.
    """

    access_log: bool = setting(True, flag, "Write one JSON line a request.")
    slow_request_ms: float | None = setting(
        2000.0, _milliseconds, "Requests slower than this are logged as WARNING. None: off.", optional=True
    )
    log_level: str = setting(
        "INFO", _level, "Lines below this level are not written: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`."
    )
    log_levels: Mapping[str, str] = setting(
        {}, _levels, 'Levels for single loggers and those below them: `{"sqlalchemy.engine": "WARNING"}`.'
    )
    log_format: str = setting(
        "json", _format, "`json`, or `console` for the eyes of developers, coloured on a terminal."
    )
    log_schema: str = setting(
        "obskit",
        _schema,
        "Names of the fields: obskit's own, those of the Elastic Common Schema, or OpenTelemetry's log data model.",
    )
    log_names: Mapping[str, str | None] = setting(
        {},
        new_names,
        'New names for log fields: `{"duration_ms": "response_time"}`. None leaves a field out. A part of the '
        'exception becomes a field of its own: `{"exception.type": "error_type"}`.',
    )
    log_stream: IO[Any] | None = setting(None, _stream, "Where lines go. Default: standard output.", env=None)
    log_file: str | None = setting(None, text, "Write lines to this file in place of `log_stream`.")
    log_rotate_bytes: int | None = setting(
        50_000_000, _rotate_bytes, "Start a new file when `log_file` has this size. None: no limit.", optional=True
    )
    log_rotate_daily: bool = setting(False, flag, "Start a new file each day, in UTC.")
    log_keep_files: int | None = setting(10, _keep, "Keep this many old files. None: all.", optional=True)
    log_keep_days: int | None = setting(
        None, _keep, "Delete rotated files after this many days, archived ones too. None: never.", optional=True
    )
    log_gzip: bool | timedelta = setting(
        False, _gzip, 'Compress old files: `True` at once, `"7d"` when they are so old.'
    )
    log_archive_after: timedelta | None = setting(
        None,
        _age,
        'Put old files away when they are so old (`"30d"`, `"12h"`): compressed, into `log_archive_dir`. What '
        "`log_keep_files` has no place for goes there too, in place of being deleted; `log_keep_days` deletes there as "
        "well. None: with `log_archive_dir` at once, else never.",
    )
    log_archive_dir: str | None = setting(
        None, _folder, "Where old files are put away. None: with `log_archive_after`, `archive` beside the log file."
    )
    log_queue: int | None = setting(
        None,
        _waiting,
        "Queue up to this many lines for a slow output, such as a stream to another machine; `WARNING` and above "
        "are written at once. What finds no place is dropped and counted. None: each line is written when it is made.",
        optional=True,
    )
    log_channels: Mapping[str, Mapping[str, Any]] = setting(
        {},
        _channels,
        "Files of their own for single loggers and those below them: "
        '`{"security": {"file": "logs/security.jsonl", "keep_days": 365}}`. '
        "Beside `file` it takes `rotate_bytes`, `rotate_daily`, `keep_files`, `keep_days`, `gzip`, `archive_dir` and "
        "`archive_after`; what is not given is as for `log_file`.",
    )
    log_outputs: tuple[Mapping[str, Any], ...] = setting(
        (),
        _outputs,
        "Write every line to these too, each in a form of its own: "
        '`[{"format": "console", "stream": "stderr"}, {"format": "json", "file": "logs/app.jsonl"}]`. '
        'An output has a `file`, or a `stream` (`"stdout"`, `"stderr"`, or an object with `write()`; default: standard '
        "output); beside it `format`, `schema`, `level` (below it no line), `queue`, and for a file what a channel "
        "takes. What is not given is as for the first output.",
        env="json",
    )
    error_file: str | None = setting(
        None, text, "Write lines of `ERROR` and `CRITICAL` to this file too; it is rotated as `log_file` is."
    )
    log_category: bool = setting(
        False,
        flag,
        "Add `category` to each line, by its logger and level: `request`, `performance`, `security`, `audit`, "
        "`business`, the name of a channel (`log_channels`), `error`, `system` or `application`.",
    )
    log_server: bool = setting(
        True,
        flag,
        "Write the server's own lines (uvicorn, gunicorn, hypercorn, granian) as obskit's, and leave its access lines "
        "out where obskit writes them. False: leave its loggers alone.",
    )
    log_callsite: bool = setting(
        False, flag, "Add `module`, `function`, `line`, `thread` and `process` to the lines of loggers."
    )
    log_through_logging: bool = setting(
        False,
        flag,
        "Send the lines of `obskit.get_logger()` through the standard library's loggers of their names too, for "
        "handlers of others: caplog's, Sentry's, files.",
    )
    log_sample_first: int | None = setting(
        None,
        count(1_000_000, ", or None for off"),
        "Write at most this many lines per second of one logger, level and message, then every `log_sample_every`-th. "
        "None: all.",
        optional=True,
    )
    log_sample_every: int = setting(
        100,
        count(1_000_000),
        "Of the lines beyond `log_sample_first`, write every so-many-th; it says how many were `left_out`.",
    )
    access_log_sample: Mapping[str, int] = setting(
        {},
        _sampled,
        'Write every so-many-th line of a route: `{"/poll/{device_id}": 100}`; it says how many were `left_out`. '
        "Errors and slow requests are always written.",
    )
    log_client: str = setting(
        "masked",
        one_of("masked", "full", "none"),
        "The client's address in the access line: `masked` keeps the network (/24, /48), `full` all of it, `none` "
        "nothing.",
    )
    log_query_string: bool = setting(
        False, flag, "Put the query string into the access line's `path`. It may hold secrets."
    )
