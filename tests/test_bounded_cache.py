"""
What is kept of texts that clients write is bounded, in their number and in their length.
"""

import gc
import re
import tracemalloc
from pathlib import Path

import pytest

import obskit
from contract.drivers import Request, call_asgi, call_wsgi
from obskit import bounded_cache
from obskit.bounded_cache import BoundedCache
from obskit.testing import isolated_runtime

# Caches of `functools` that no client writes the keys of, and what the keys are.
KEYS_ARE_OURS = {
    "obskit.ai.provider_hosts": "hosts of the SDK clients that the application makes",
    "obskit.ai.rate_limit_headers": "moments in a provider's headers, cut to a date's length",
    "obskit.ai.rates": "nothing",
    "obskit.process_identity": "nothing",
    "obskit.rules.hours_promql": "time zones of the rules",
    "obskit.rules.in_force": "nothing",
    "obskit.runtime": "nothing",
    "obskit.settings": "classes of settings",
    "obskit.default_service": "files of the application's code",
    "obskit.sinks.scrape_time": "nothing, and the settings' paths",
    "obskit.integrations.sqlite3": "types",
    "obskit.integrations.django.routes": "routes of the URLconf",
    "obskit.integrations.asgi": "classes of routers",
    "obskit.integrations._starlette_routes": "paths of routes",
    "obskit.db.sql_masking": "dialects",
    "obskit.db.callsite": "files with code",
    "obskit.storage.own_sqlite": "schemas",
}


def test_an_answer_is_kept():
    """
    What was found is found once.
    """
    asked = []
    answers = BoundedCache(lambda key: asked.append(key) or len(key))

    assert [5, 5, 3] == [answers["short"], answers["short"], answers["new"]]
    assert ["short", "new"] == asked


@pytest.mark.parametrize("key", ["x" * 2000, ("x" * 2000, "http"), b"x" * 2000], ids=["text", "pair", "bytes"])
def test_a_long_text_is_no_key(key):
    """
    The answer to a long text is its own, and nothing of it stays.
    """
    answers = BoundedCache(lambda key: key)

    assert (key, {}, 0) == (answers[key], dict(answers), answers.size_bytes)


def test_many_texts_are_forgotten():
    """
    However many texts come, what is kept stays below the bound.
    """
    answers = BoundedCache(lambda key: key)
    sizes = [answers[f"{number:0400}"] and answers.size_bytes for number in range(10_000)]

    assert bounded_cache.MOST_BYTES // 2 < max(sizes) <= bounded_cache.MOST_BYTES


def test_an_error_is_not_kept():
    """
    What finding raises is raised each time.
    """
    answers = BoundedCache(int)
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid"):
            answers["x"]

    assert {} == answers


def test_every_other_cache_has_keys_of_ours():
    """
    A cache of `functools` bounds the number of its keys, not their length: no client may write them.
    """
    folder = Path(obskit.__file__).parent
    cached = re.compile(r"^\s*@(?:functools\.)?(?:lru_)?cache\b|\b(?:lru_)?cache\([^)]*\)\(", re.MULTILINE)
    homes = {
        ".".join(("obskit", *file.relative_to(folder).with_suffix("").parts))
        for file in folder.rglob("*.py")
        if cached.search(file.read_text())
    }

    assert homes <= KEYS_ARE_OURS.keys()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


HEADERS = [
    *((name, "") for name in ("User-Agent", "Host", "Accept", "Accept-Encoding", "X-Correlation-ID", "traceparent")),
    ("X-Forwarded-For", "fe80::1%"),
]


@pytest.mark.parametrize(("app", "call"), [(wsgi, call_wsgi), (asgi, call_asgi)], ids=["wsgi", "asgi"])
@pytest.mark.parametrize("path", ["/", "/health/ready", "/metrics"])
def test_long_headers_cost_no_memory(app, call, path):
    """
    Headers of 60 KB, each another, leave nothing behind; all settings that look at headers are on.
    """
    from opentelemetry.sdk.trace import TracerProvider

    with isolated_runtime(tracing=TracerProvider(), trusted_proxies=["192.0.2.0/24"], access_log=True) as runtime:
        observed = obskit.instrument(app)

        def ask(number):
            call(observed, Request(path, headers=[(header, f"{begin}{number:060000}") for header, begin in HEADERS]))
            runtime.lines.clear()

        ask(0)
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(1, 21):
                ask(number)
            gc.collect()
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert grown < 5 * 60_000
