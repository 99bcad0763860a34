"""
What the health routes show to whom, in each format.
"""

import hmac
import json

import pytest

from obskit import health
from obskit.errors import ConfigurationError
from obskit.health.registry import registry
from obskit.recorder import recorder
from obskit.testing import isolated_runtime
from obskit.web import access
from obskit.web.health import format_for
from obskit.web.request import Request

DSN = "postgresql://shop:hunter2@db.internal:5432/orders"
SECRETS = ("hunter2", "db.internal", "orders", "sk-ant-", "correct-horse")
# What the anonymous must not see beside those.
PRIVATE = (*SECRETS, "/var/lib/shop", "OperationalError", "9.8.7", "error", "database")
ROUTES = ("/health", "/health/live", "/health/ready", "/health/startup", "/health/detailed", "/health/database")
FORMATS = ("application/json", "application/health+json", "text/plain", "text/html", "*/*", None)


class OperationalError(Exception):
    pass


@pytest.fixture(autouse=True)
def no_checks():
    yield
    for name in list(registry.checks):
        registry.remove(name)


@pytest.fixture
def broken():
    @health.check("database", groups=["ready", "live", "startup"])
    def database():
        raise OperationalError(
            f"could not connect to {DSN}, password='correct-horse' key sk-ant-REDACTED in /var/lib/shop"
        )


def ask(isolated, path, *, token=None, client="192.0.2.1", accept=None, method="GET"):
    headers = {"authorization": token and f"Bearer {token}", "accept": accept}
    return isolated.runtime.routes.answer(Request(method, path, "", headers.get, client))


def shown(reply, words):
    text = reply.body.decode() + repr(reply.headers)
    return [word for word in words if word in text]


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("accept", FORMATS)
@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"expose_details": "never", "details_token": "t"},
        {"details_token": "t"},
        {"details_networks": ("10.0.0.0/8",)},
        {"expose_details": lambda request: False},
        {"expose_details": lambda request: 1},
    ],
    ids=["default", "never", "token", "network", "callable", "not True"],
)
def test_the_anonymous_see_one_word(path, accept, settings):
    """
    No text of an exception, DSN, path or version is shown, in any route and format; the status code is the same.
    """
    with isolated_runtime(version="9.8.7", **settings) as isolated:
        reply = ask(isolated, path, token="wrong", accept=accept)
        text = reply.body.decode()

    assert (503, []) == (reply.status, [word for word in PRIVATE if word in text])
    assert text == "fail\n" if accept == "text/plain" else {"status", "timestamp"} >= json.loads(text).keys()
    assert ("Cache-Control", "no-store") in reply.headers


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("accept", ["application/json", "application/health+json"])
@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"details_token": "t"}, {"token": "t"}),
        ({"details_networks": ("10.0.0.0/8",)}, {"client": "10.1.2.3"}),
        ({"expose_details": "always"}, {}),
        ({"expose_details": lambda request: request.client == "192.0.2.1"}, {}),
    ],
    ids=["token", "network", "always", "callable"],
)
@pytest.mark.parametrize("path", ["/health/ready", "/health/detailed", "/health/database", "/health/startup"])
def test_the_authorised_see_why_and_no_secret(accept, settings, given, path):
    """
    They see the class, and the text without secrets.
    """
    with isolated_runtime(version="9.8.7", **settings) as isolated:
        reply = ask(isolated, path, accept=accept, **given)

    assert ([], ["OperationalError", "database"]) == (
        shown(reply, SECRETS),
        shown(reply, ["OperationalError", "database"]),
    )
    assert 503 == reply.status


@pytest.mark.usefixtures("broken")
def test_the_log_has_the_reason_and_no_secret():
    """
    The transition's line names component, class and text, redacted.
    """
    with isolated_runtime() as isolated:
        ask(isolated, "/health")
        [line] = isolated.lines

    assert ("ERROR", "database", "fail", "OperationalError") == (
        line["level"],
        line["component"],
        line["health"],
        line["reason"],
    )
    assert line["error"].startswith(
        "could not connect to [redacted] password='[redacted:password]' key [redacted:api_key] in "
    )
    assert [] == [word for word in SECRETS if word in json.dumps(line)]


def test_details_are_redacted_by_key():
    """
    What a check tells is redacted as lines are, however deep, by the names of `redact_keys` too, and by value even
    where lines are not; and the place of a database goes with its user.
    """
    details = {"api_key": "abc", "pool": {"password": "abc", "size": 5}, "hosts": [f"x {DSN}"], "when": object}
    details |= {"iban": "DE02", "tokens_used": 7, "author": "ada", "deep": {"a": [{"token": "abc"}]}}
    details["said"] = "DETAIL:  Key (email)=(ada@shop.example) already exists."
    health.add("queue", lambda: details)
    with isolated_runtime(expose_details="always", redact_keys=["iban"], redact_values=False) as isolated:
        found = json.loads(ask(isolated, "/health/queue").body)["checks"]["queue"]["details"]

    assert {
        "api_key": "[redacted:api_key]",
        "pool": {"password": "[redacted:password]", "size": 5},
        "hosts": ["x [redacted]"],
        "iban": "[redacted:iban]",
        "tokens_used": 7,
        "author": "ada",
        "deep": {"a": [{"token": "[redacted:token]"}]},
        "said": "DETAIL:  [redacted:detail]",
        "when": "<class 'object'>",
    } == found


def test_the_token_is_compared_in_constant_time(monkeypatch):
    """
    The comparison is `hmac.compare_digest`, over all of what was given.
    """
    compared = []

    def compare(given, wanted):
        compared.append((given, wanted))
        return hmac.compare_digest(given, wanted)

    monkeypatch.setattr(access, "hmac", type("hmac", (), {"compare_digest": staticmethod(compare)}))
    with isolated_runtime(details_token="s3cret") as isolated:
        ask(isolated, "/health/ready", token="wrong")

    assert [(b"Bearer wrong", b"Bearer s3cret")] == compared


def test_a_callable_that_raises_lets_nobody_in():
    """
    It is counted, and the probe is answered.
    """

    def broken(request):
        raise RuntimeError("no session")

    with isolated_runtime(strict=False, expose_details=broken) as isolated:
        reply = ask(isolated, "/health/ready")
        errors = recorder.errors["expose_details"]

    assert (200, {"status", "timestamp"}, 1) == (reply.status, json.loads(reply.body).keys(), errors)


def test_the_draft_format():
    """
    `application/health+json` is what the draft says: checks are lists by component and measurement, `output` only
    where it is not a pass.
    """
    health.add("disk", lambda: None)
    health.add("mail", lambda: health.warned("slow"))
    with isolated_runtime(service="shop", version="9.8.7", expose_details="always") as isolated:
        reply = ask(isolated, "/health/ready", accept="application/health+json")
        body = json.loads(reply.body)
    [disk], [mail] = body["checks"]["disk:responseTime"], body["checks"]["mail:responseTime"]

    assert ("Content-Type", "application/health+json") in reply.headers
    assert (200, "warn", "shop", "9.8.7") == (reply.status, body["status"], body["serviceId"], body["releaseId"])
    assert {"componentId", "status", "observedValue", "observedUnit", "time"} == disk.keys()
    assert ("pass", "ms", "slow") == (disk["status"], disk["observedUnit"], mail["output"])


GUIDES = {"health_schema": "guides", "expose_details": "always", "version": "9.8.7"}


@pytest.mark.parametrize(
    ("answer", "word", "code"),
    [
        (lambda: None, "healthy", 200),
        (lambda: health.warned("slow"), "healthy", 200),
        (lambda: False, "unhealthy", 503),
    ],
)
def test_the_words_of_monitors(answer, word, code):
    """
    With `health_schema="guides"` bodies say `healthy` and `unhealthy` under both names, and the codes stay.
    """
    health.add("database", answer)
    health.add("mail", lambda: health.skipped("no host"))
    with isolated_runtime(**GUIDES) as isolated:
        given = {path: ask(isolated, path) for path in ROUTES}
        plain = ask(isolated, "/health", accept="text/plain").body
        draft = json.loads(ask(isolated, "/health/ready", accept="application/health+json").body)
        again = json.loads(ask(isolated, "/health/detailed").body)
    bodies = {path: json.loads(reply.body) for path, reply in given.items()}

    for path in ("/health", "/health/ready", "/health/detailed", "/health/database"):
        assert (code, word, word) == (
            given[path].status,
            bodies[path]["status"],
            bodies[path]["overall_status"],
        )
    assert {"status": "healthy", "overall_status": "healthy"}.items() <= bodies["/health/live"].items()
    checks = again["checks"]
    assert (word, "skipped") == (checks["database"]["status"], checks["mail"]["status"])
    assert ("9.8.7", True) == (again["version"], again["uptime_s"] > 0)
    assert {"pass", "warn", "fail"}.isdisjoint(text for change in again["transitions"] for text in change.values())
    assert word.encode() + b"\n" == plain
    assert draft["status"] in ("pass", "warn", "fail")


@pytest.mark.usefixtures("broken")
def test_the_anonymous_see_one_word_of_monitors():
    """
    The two names are all that there is beside the time.
    """
    with isolated_runtime(health_schema="guides") as isolated:
        body = json.loads(ask(isolated, "/health/detailed").body)

    assert {"status", "overall_status", "timestamp"} == body.keys()


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("application/json", "application/json"),
        ("application/health+json", "application/health+json"),
        ("text/plain", "text/plain"),
        ("text/*", "text/plain"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"),
        ("application/health+json, application/json;q=0.9", "application/health+json"),
        ("application/json;q=0.1, text/plain", "text/plain"),
        ("application/json;q=0, */*", "application/health+json"),
        ("image/png", "application/json"),
        ("text/plain;q=x", "application/json"),
        ("", "application/json"),
    ],
)
def test_the_format_that_is_liked_best(accept, chosen):
    """
    `Accept` is read with its qualities; who takes anything, or nothing that there is, gets JSON.
    """
    assert chosen == format_for(accept)


@pytest.mark.parametrize("path", ROUTES)
def test_head(path):
    """
    HEAD has the status and the headers of GET, and no body.
    """
    health.add("database", lambda: False)
    with isolated_runtime() as isolated:
        get, head = ask(isolated, path), ask(isolated, path, method="HEAD")

    assert (get.status, get.headers, b"") == (head.status, head.headers, head.body)


def test_the_status_of_a_failure_is_a_setting():
    """
    Load balancers that know no 503 are given another.
    """
    health.add("database", lambda: False)
    with isolated_runtime(health_fail_status=500) as isolated:
        assert 500 == ask(isolated, "/health").status


@pytest.mark.parametrize(
    "wrong",
    [
        {"expose_details": "sometimes"},
        {"health_schema": "ietf"},
        {"health_fail_status": 200},
        {"health_groups": "deep"},
        {"health_groups": ("a b",)},
        {"details_networks": ("10.0.0.0/99",)},
        {"disk_paths": {"": "/"}},
        {"disk_paths": ["/"]},
    ],
)
def test_wrong_settings(wrong):
    """
    Each is an error at `configure()` that names the setting.
    """
    [name] = wrong
    with pytest.raises(ConfigurationError, match=f"{name}=.*expected"), isolated_runtime(**wrong):
        pass
