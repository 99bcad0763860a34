"""
Which service this process belongs to, and whether it is observed.
"""

from __future__ import annotations

from obskit.default_service import default_service
from obskit.fields import Section, flag, path, section, setting, text

_state_directory = path(
    "an absolute path of a directory that stays, such as '/var/lib/shop', or None for the user's state folder",
    absolute=True,
)


@section
class ServiceSettings(Section, subject="Service"):
    """
    The name of the service, and whether it is observed.
    """

    service: str = setting(
        "",
        text,
        "Name of the service: in every line, in `obskit_build_info`, in spans. Default: "
        "`OTEL_SERVICE_NAME`, else the program's name; under a server or a runner (gunicorn, uvicorn, flask, celery, "
        "python, ...) the project's: that of the nearest `pyproject.toml`, else of the folder that holds the "
        "application's code, or all of its releases (`shop/releases/42`).",
        empty_is_unset=True,
        fallback=default_service,
    )
    version: str | None = setting(
        None, text, "Version of the service, in `obskit_build_info` and in spans.", empty_is_unset=True
    )
    environment: str | None = setting(
        None,
        text,
        "Deployment environment, such as `production`, in `obskit_build_info` and in spans.",
        empty_is_unset=True,
    )
    enabled: bool = setting(
        True, flag, "False makes everything a no-op: `instrument()` returns the application as it was."
    )
    auto: bool = setting(
        False,
        flag,
        "Instrument whatever supported library is installed, with no further call: `psycopg`, `sqlalchemy`, `sqlite3`, "
        "Django's databases, "
        "`anthropic`, `openai`, the standard library's loggers, `httpx`, `requests` and Celery; none of them is "
        "imported for it.",
    )
    state_dir: str | None = setting(
        None,
        _state_directory,
        "Where state is kept, such as what AI budgets have spent, in one folder a service: a directory that stays when "
        "the process ends, shared by the processes of this machine. Default: the first of systemd's "
        "`$STATE_DIRECTORY`, else `obskit` under the user's state folder (`XDG_STATE_HOME`, `~/.local/state`); under "
        "pytest a temporary one.",
    )
    serving: bool | None = setting(
        None,
        flag,
        "Whether this process may act for all processes of the service, as one that judges, sends and cleans up. None: "
        "from its first request on, ASGI's start-up, or the start of a Celery worker. True: although it serves no "
        "request, as a process of jobs. False: never.",
        optional=True,
    )
