"""
Answer the health routes: whose checks count, in which format, and what whom is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import iscoroutine
from typing import Any

import orjson

from obskit.bounded_cache import BoundedCache
from obskit.health.check_runs import Check, CheckResult, Run
from obskit.health.declaration import GROUPS, STARTUP
from obskit.health.outcome import Status
from obskit.health.registry import registry
from obskit.health.safe_details import redacted, without_secrets
from obskit.health.uptime import uptime_seconds
from obskit.recorder import recorder
from obskit.redaction.redactor import Redactor
from obskit.time.timestamps import rfc3339
from obskit.web.access import Access
from obskit.web.negotiation import preferred
from obskit.web.replies import NO_STORE, TEXT, Reply
from obskit.web.request import Request
from obskit.web.route_settings import RouteSettings

# What a route can answer in, the preferred first: a client that takes anything gets JSON.
JSON, HEALTH_JSON, PLAIN = FORMATS = ("application/json", "application/health+json", "text/plain")
_HEADERS = {name: [TEXT if name == PLAIN else ("Content-Type", name), NO_STORE] for name in FORMATS}
_DETAILED = "detailed"
# What a monitor that looks for words finds in place of a status; another, such as skipped, stays.
_WORDS: dict[str, dict[str, str]] = {
    "obskit": {},
    "guides": {"pass": "healthy", "warn": "healthy", "fail": "unhealthy"},
}


class HealthRoutes:
    """
    The health routes of a runtime.

    Attributes:
        paths: Route -> the group it asks, or the component; None is every check.
    """

    def __init__(self, settings: RouteSettings) -> None:
        self._settings = settings
        self._prefix = settings.health_path
        self._fail_status = settings.health_fail_status
        self._words: Mapping[str, str] = _WORDS[settings.health_schema]
        self._starts = {status: orjson.dumps(self._head(status))[:-1] for status in ("pass", "warn", "fail", "skipped")}
        self._redactor = Redactor(settings.redact_keys)  # by value, too, whatever lines do
        self._access = details_access(settings)
        self._nobody = self._access.lets_nobody_in
        self.paths: dict[str, tuple[str | None, str | None]] = {}
        if self._prefix:
            self.paths[self._prefix] = (None, None)
            self.paths[f"{self._prefix}/{_DETAILED}"] = (None, None)
            for group in (*GROUPS, *settings.health_groups):
                self.paths[f"{self._prefix}/{group}"] = (group, None)

    def mount(self, component: str) -> str | None:
        """
        Add the route of a component, and return it.
        """
        if not self._prefix:
            return None
        path = f"{self._prefix}/{component}"
        self.paths[path] = (None, component)
        return path

    def answers_on_loop(self, request: Request) -> bool:
        """
        Return whether `answer_async()` holds an event loop for nothing; not where the application says who sees more.
        """
        return request.path in self.paths and not (self._access.asks_application and request.path != self._prefix)

    def answer(self, request: Request) -> Reply:
        """
        Answer, and wait for what is due: no longer than its timeout.
        """
        checks, runs = self._ask(request)
        for run in runs:
            run.wait()
        return self._reply(request, checks)

    async def answer_async(self, request: Request) -> Reply:
        """
        Answer on asyncio's event loop: from memory at once, else when the runs that are due are over.
        """
        checks, runs = self._ask(request)
        for run in runs:
            await run.wait_async()
        return self._reply(request, checks)

    def _ask(self, request: Request) -> tuple[Sequence[Check], list[Run]]:
        registry.ensure_running()
        group, component = self.paths[request.path]
        if component is not None:
            check = registry.checks.get(component)
            checks: Sequence[Check] = () if check is None else (check,)
        else:
            checks = registry.startup() if group == STARTUP else registry.members(group)
        return checks, registry.refresh(checks) if checks else []

    def _reply(self, request: Request, checks: Sequence[Check]) -> Reply:
        status = registry.status(checks)
        group = self.paths[request.path][0]
        if group == STARTUP:
            registry.latch(status)
        code = 200 if status != "fail" else self._fail_status
        accept = request.header("accept")
        chosen = JSON if accept is None or accept == "*/*" else _format_of[accept]
        headers = _HEADERS[chosen]
        if chosen == PLAIN:
            return Reply(code, headers, self._word(status).encode() + b"\n")
        now = rfc3339(recorder.wall_clock())
        if self._nobody or request.path == self._prefix or self._access.role(request) is None:
            if chosen == HEALTH_JSON:
                return Reply(code, headers, b'{"status":"%b"}' % status.encode())
            return Reply(code, headers, b'%b,"timestamp":"%b"}' % (self._starts[status], now.encode()))
        whole = request.path == f"{self._prefix}/{_DETAILED}"
        shown = registry.members(STARTUP) if group == STARTUP else checks
        body = self._draft(status, shown, whole) if chosen == HEALTH_JSON else self._own(status, now, shown, whole)
        return Reply(code, headers, orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS))

    def _word(self, status: str) -> str:
        return self._words.get(status, status)

    def _head(self, status: str) -> dict[str, Any]:
        """
        Return the status as bodies begin, under each name that it has.
        """
        word = self._word(status)
        return {"status": word, "overall_status": word} if self._words else {"status": word}

    def _own(self, status: Status, now: str, checks: Iterable[Check], whole: bool) -> dict[str, Any]:
        body: dict[str, Any] = {**self._head(status), "timestamp": now, "checks": {}}
        for check in checks:
            shown = _shown(check, recorder.clock(), self._redactor)
            words: dict[str, str] = {name: self._word(shown[name]) for name in ("status", "last_run") if name in shown}
            body["checks"][check.declared.name] = {**shown, **words}
        if whole:
            if self._settings.version:
                body["version"] = self._settings.version
            body["uptime_s"] = uptime_seconds()
            body["transitions"] = [
                {
                    "component": it.component,
                    "at": rfc3339(it.at),
                    "was": it.was and self._word(it.was),
                    "now": self._word(it.now),
                    **({"reason": it.reason} if it.reason else {}),
                }
                for it in list(registry.transitions)
            ]
        return body

    def _draft(self, status: Status, checks: Iterable[Check], whole: bool) -> dict[str, Any]:
        """
        Write what draft-inadarei-api-health-check-06 has: checks are lists, keyed by component and measurement.
        """
        settings, now = self._settings, recorder.clock()
        body: dict[str, Any] = {"status": status, "serviceId": settings.service, "checks": {}}
        if settings.version:
            body["releaseId"] = settings.version
        if whole:
            body["checks"]["uptime"] = [
                {"componentType": "system", "observedValue": uptime_seconds(), "observedUnit": "s"}
            ]
        for check in checks:
            shown, name = _shown(check, now, self._redactor), check.declared.name
            entry: dict[str, Any] = {"componentId": name, "status": shown["status"]}
            if "response_time_ms" in shown:
                entry |= {"observedValue": shown["response_time_ms"], "observedUnit": "ms"}
            if "age_s" in shown:
                entry["time"] = rfc3339(recorder.wall_clock() - shown["age_s"])
            if shown["status"] != "pass" and "reason" in shown:
                entry["output"] = shown["reason"]
            body["checks"][f"{name}:responseTime"] = [entry]
        return body


def details_access(settings: RouteSettings) -> Access:
    """
    Return who sees more than one word.
    """
    expose = settings.expose_details
    if callable(expose):
        return Access(function=partial(_viewer_where_true, expose), part="expose_details")
    if expose == "always":
        return Access(everyone="viewer")
    if expose == "never":
        return Access()
    return Access(view_token=settings.details_token, networks=settings.details_networks)


def _viewer_where_true(expose: Callable[[Any], Any], request: Request) -> Any:
    """
    Read what a function of the setting `expose_details` says: True alone shows more, and a coroutine is a mistake.
    """
    said = expose(request)
    return said if iscoroutine(said) else "viewer" if said is True else None


def _shown(check: Check, now: float, redactor: Redactor) -> dict[str, Any]:
    """
    Write what is known of a check, for the authorised.
    """
    declared, answer = check.declared, check.result
    if answer is None:
        return {"status": "pass", "critical": declared.critical, "reason": "not asked yet"}
    shown: dict[str, Any] = {"status": answer.status, "critical": declared.critical}
    if answer.outcome.status != answer.status:
        shown["last_run"] = answer.outcome.status  # which hysteresis has not let through yet
    if answer.outcome.reason:
        shown["reason"] = redacted(answer.outcome.reason, redactor)
    if answer.seconds is not None:
        shown["response_time_ms"] = round(answer.seconds * 1000, 3)
    if answer.answered_at is not None:
        shown["age_s"] = round(max(0.0, now - answer.answered_at), 3)
    shown["stale"] = _is_stale(check, answer, now)
    if answer.outcome.details:
        shown["details"] = without_secrets(answer.outcome.details, redactor)
    return shown


def _is_stale(check: Check, answer: CheckResult, now: float) -> bool:
    """
    Return whether the check's answer is older than an interval and a timeout: a run hangs, or none was begun.
    """
    declared = check.declared
    limit = 1.1 * declared.every_seconds + declared.timeout_seconds
    return answer.timed_out or answer.answered_at is None or now - answer.answered_at > limit


def format_for(accept: str) -> str:
    """
    Return the media type of a reply to a client with this `Accept` header.
    """
    return preferred(accept, FORMATS) or JSON


_format_of = BoundedCache(format_for)
