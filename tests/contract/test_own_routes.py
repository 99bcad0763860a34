"""
Routes of obskit's own, beyond pages that are read: bodies, replies in pieces, handlers that hang, paths below a prefix.
"""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

import obskit
from obskit.bounded_calls import Lane
from obskit.errors import RouteTakenError
from obskit.recorder import recorder
from obskit.testing import FakeClock, IsolatedRuntime, isolated_runtime
from obskit.web import bodies
from obskit.web.access import Access
from obskit.web.replies import Reply as OwnReply
from obskit.web.replies import text
from obskit.web.router import Route

from .drivers import CALL, WHOLE, Ending, Reply, Request, call_wsgi, exchange
from .scene import Scene
from .servers import SERVERS, serving
from .stack import Stack
from .stacks import STACKS, only
from .uploads import UPLOAD, Upload, whole

PLAIN = [("Content-Type", "text/plain")]
HELD = contextvars.ContextVar("held", default="nothing")


@dataclass
class Front:
    """
    Serve a stack's application with a few routes of obskit's, below `/toy`.

    Attributes:
        loop: What it runs on: `wsgi`, `asgi` or `trio`.
        urls: Whether Django's URLconf leads to obskit's routes, in place of `instrument()`.
    """

    stack: Stack
    loop: str
    urls: bool = False
    runtime: IsolatedRuntime | None = None

    def __str__(self) -> str:
        return f"{self.stack.name}{'-urls' if self.urls else ''}{'-trio' if self.loop == 'trio' else ''}"

    def answer(self, name: str, handler: Callable[[obskit.Request], Any], method: str = "GET", **more: Any) -> None:
        assert self.runtime is not None
        self.runtime.runtime.routes.add(f"/toy/{name}", Route("toy_path", {method: handler}, **more))

    @cached_property
    def app(self) -> Any:
        app = self.stack.build(Scene(FakeClock()))
        if not self.urls:
            return obskit.instrument(app)
        from django.conf import settings
        from django.urls import clear_url_caches, include, path

        settings.ROOT_URLCONF = (*settings.ROOT_URLCONF, path("", include("obskit.integrations.django.urls")))
        clear_url_caches()
        return app

    def upload(self, path: str, upload: Upload, method: str = "POST") -> Any:
        return UPLOAD[self.loop](self.app, Request(path, method), upload)

    def get(self, path: str, ending: Ending = WHOLE, method: str = "GET", root: str = "") -> Reply:
        request = Request(path, method, root=root)
        if self.loop == "trio":
            return UPLOAD["trio"](self.app, request, whole()).reply
        return CALL[self.stack.protocol](self.app, request, ending)


FRONTS = [
    *(Front(stack, stack.protocol) for stack in STACKS),
    *(Front(stack, stack.protocol, urls=True) for stack in STACKS if stack.name.startswith("django")),
    *(Front(stack, "trio") for stack in STACKS if stack.has("trio") and find_spec("trio")),
]


def fronts(*loops: str, urls: bool = True) -> pytest.MarkDecorator:
    """
    Run a test on every front that runs on one of these loops.
    """
    able = [front for front in FRONTS if front.loop in (loops or ("wsgi", "asgi", "trio")) and (urls or not front.urls)]
    return pytest.mark.parametrize("front", [Front(it.stack, it.loop, it.urls) for it in able], ids=str)


@pytest.fixture(autouse=True)
def quiet_django(caplog):
    """
    Stop Django from logging each reply of 4xx.
    """
    caplog.set_level(logging.CRITICAL, "django")


@pytest.fixture
def toy(front: Front) -> Iterator[Front]:
    """
    Set the front up with a runtime, everything below `/toy` and a route that gives its body back.
    """
    with isolated_runtime(strict=False, trusted_proxies=("192.0.2.0/24",)) as front.runtime:
        routes = front.runtime.runtime.routes
        routes.add_below("/toy", Route("toy_path", {"GET": lambda request: text(404, f"no {request.path}")}))
        front.answer("echo", lambda request: OwnReply(200, PLAIN, request.body), "POST")
        front.answer("page", lambda request: OwnReply(200, PLAIN, b"a page"))
        if front.urls:  # whose module has followed the runtime since it began
            import_module("obskit.integrations.django.urls")._middleware.runtime_changed(front.runtime.runtime)
        vars(front).pop("app", None)
        yield front


MOST = bodies.MAX_BYTES
FULL = b"x" * MOST
# A body -> what is answered, and with what.
BODIES = {
    "whole": (whole(b"hello"), 200, b"hello"),
    "in pieces": (whole(b"he", b"l", b"lo"), 200, b"hello"),
    "none": (Upload(), 200, b""),
    "empty": (whole(), 200, b""),
    "as large as may be": (whole(FULL), 200, FULL),
    "chunked": (Upload((b"he", b"llo"), chunked=True), 200, b"hello"),
    "one byte too many": (whole(FULL + b"x"), 413, None),
    "one byte too many, chunked": (Upload((FULL, b"x"), chunked=True), 413, None),
    "endless, chunked": (Upload([FULL] * 40, chunked=True), 413, None),
    "declared enormous": (Upload(length="9" * 5000), 413, None),
    "shorter than declared": (whole(b"hello", length="10"), 400, None),
    "declared in letters": (whole(b"hello", length="five"), 400, None),
    "declared negative": (whole(b"hello", length="-5"), 400, None),
    "declared with a sign": (whole(b"hello", length="+5"), 400, None),
    "declared with an underscore": (whole(b"hello", length="0_5"), 400, None),
}


@fronts()
def test_body(toy):
    """
    A small body is given to the handler whole; one that is too large, or not as long as it says, to nobody.
    """
    replies = {name: toy.upload("/toy/echo", upload).reply for name, (upload, _, _) in BODIES.items()}

    assert {name: reply.status for name, reply in replies.items()} == {name: it[1] for name, it in BODIES.items()}
    assert [name for name, (_, status, body) in BODIES.items() if status == 200 and replies[name].body != body] == []


@fronts(urls=False)
def test_body_that_is_refused_by_its_head_is_not_read(toy):
    """
    What the head says of a body is enough to refuse it.
    """
    names = ("declared enormous", "one byte too many", "declared in letters")

    assert [toy.upload("/toy/echo", BODIES[name][0]).asked for name in names] == [0, 0, 0]


@fronts(urls=False)
def test_body_that_does_not_come(toy, monkeypatch):
    """
    A client that sends half of its body, or none, and waits, is told after the time that a body may take.
    """
    monkeypatch.setattr(bodies, "SECONDS", 0.05)
    uploads = [Upload(pieces, "10", ending="stall") for pieces in ((b"he",), ())]

    assert [toy.upload("/toy/echo", upload).reply.status for upload in uploads] == [408, 408]


def test_body_that_trickles(monkeypatch):
    """
    A client that goes on sending a byte now and then is stopped all the same: the time is that of the whole body.
    """
    monkeypatch.setattr(bodies, "SECONDS", 0.05)
    late = threading.Event()

    class Trickle:
        def read(self, size):
            late.wait(0.01)
            return b"x"

    reply = bodies.read_body({"CONTENT_LENGTH": str(MOST), "wsgi.input": Trickle()})

    assert isinstance(reply, OwnReply)
    assert reply.status == 408


@fronts("asgi", "trio", urls=False)
def test_client_leaves_before_its_body_has_come(toy):
    """
    Nobody is answered, and no handler is asked.
    """
    served = toy.upload("/toy/echo", Upload((b"he",), "10", ending="leave"))

    assert (served.reply.status, recorder.errors) == (None, {})


@fronts("wsgi", urls=False)
def test_client_leaves_before_its_body_has_come_over_wsgi(toy):
    """
    The server cannot tell who has left from whose body is short: no handler is asked.
    """
    assert toy.upload("/toy/echo", Upload((b"he",), "10", ending="leave")).reply.status == 400


def test_chunked_body_that_only_the_server_could_end():
    """
    Where a server leaves chunks as they are, nothing may be read: the client is asked for a length.
    """
    environ = {"HTTP_TRANSFER_ENCODING": "Chunked", "CONTENT_LENGTH": "5", "wsgi.input": None}
    reply = bodies.read_body(environ)

    assert isinstance(reply, OwnReply)
    assert reply.status == 411


@fronts(urls=False)
def test_post_to_a_page_reads_nothing(toy):
    """
    405 says which methods there are; the body stays where it is.
    """
    served = [toy.upload(path, whole(b"hello")) for path in ("/metrics", "/health", "/toy/page", "/toy/nothing")]

    assert [(it.reply.status, it.asked, it.reply.header("allow")) for it in served] == [(405, 0, ["GET, HEAD"])] * 4


@fronts(urls=False)
def test_stranger_s_body_is_not_read(toy):
    """
    Who may not act is refused first.
    """
    toy.answer("act", lambda request: text(200, "done"), "POST", access=Access(token="s3cret"))
    served = toy.upload("/toy/act", whole(b"hello"))

    assert (served.reply.status, served.asked) == (401, 0)
    assert served.reply.header("www-authenticate") == ["Bearer"]


@fronts()
def test_get_where_only_a_post_is_answered(toy):
    """
    `Allow` has what there is, and no HEAD without a GET.
    """
    reply = toy.get("/toy/echo")

    assert (reply.status, reply.header("allow")) == (405, ["POST"])


@fronts()
def test_request_that_the_handler_sees(toy):
    """
    Method, path, query, headers in any case, the client through trusted proxies, and what the server gave.
    """
    seen = []
    toy.answer("seen", lambda request: seen.append(request) or text(200, "seen"))
    path = Request("/toy/seen", headers=(("X-Forwarded-For", "203.0.113.9"), ("X-Word", "a")), root="/shop")
    if toy.loop == "trio":
        UPLOAD["trio"](toy.app, path, whole())
    else:
        CALL[toy.stack.protocol](toy.app, path)

    [request] = seen
    assert (request.method, request.path, request.query, request.body) == ("GET", "/toy/seen", "", b"")
    assert (request.header("x-word"), request.header("X-Word"), request.header("x-none")) == ("a", "a", None)
    assert request.client == "203.0.113.9"
    raw = request.raw.META if toy.urls else request.raw
    assert raw["REQUEST_METHOD" if "REQUEST_METHOD" in raw else "method"] == "GET"


# Replies


def pieces_of(*pieces: Any, closed: threading.Event | None = None) -> Iterator[Any]:
    try:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece
    finally:
        if closed is not None:
            closed.set()


@fronts()
def test_reply_in_pieces(toy):
    """
    Pieces arrive as they are made, without a length, and the generator is closed.
    """
    closed = threading.Event()
    toy.answer("export", lambda request: OwnReply(200, PLAIN, pieces_of(b"a", b"", b"bc", b"d", closed=closed)))
    reply = toy.get("/toy/export")

    assert (reply.status, reply.body, reply.header("content-length")) == (200, b"abcd", [])
    assert [piece for piece in reply.pieces if piece] == [b"a", b"bc", b"d"]
    assert closed.wait(10)


@fronts()
def test_reply_of_no_pieces(toy):
    """
    A generator that gives nothing is an empty reply.
    """
    toy.answer("export", lambda request: OwnReply(200, PLAIN, pieces_of()))

    assert (toy.get("/toy/export").status, toy.get("/toy/export").body) == (200, b"")


@fronts()
def test_big_export_is_not_gathered(toy):
    """
    No more than one piece is made ahead of what the client has taken.
    """
    made = []

    def export() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            yield b"x" * 65536

    toy.answer("export", lambda request: OwnReply(200, PLAIN, export()))
    if toy.loop == "trio":
        return
    toy.get("/toy/export", Ending(pieces=3))

    assert len(made) <= 6


@fronts("wsgi", "asgi")
@pytest.mark.parametrize("send_raises", [True, False])
def test_client_leaves_in_mid_reply(toy, send_raises):
    """
    The generator is closed when the client leaves, and it is no error.
    """
    closed = threading.Event()
    toy.answer("export", lambda request: OwnReply(200, PLAIN, pieces_of(*[b"x"] * 1000, closed=closed)))
    reply = toy.get("/toy/export", Ending(pieces=2, send_raises=send_raises))

    assert closed.wait(10)
    assert (len(reply.pieces), recorder.errors) == (2, {})


@fronts()
@pytest.mark.parametrize("wrong", [RuntimeError("no disk"), "a text", None], ids=["raises", "text", "None"])
def test_reply_that_breaks_off(toy, wrong):
    """
    A piece that cannot be made cuts the reply, so that the client sees that it is not whole; it is counted.
    """
    toy.answer("export", lambda request: OwnReply(200, PLAIN, pieces_of(b"a", b"b", wrong)))
    if toy.loop == "trio":
        with pytest.raises(import_module("obskit.web.pieces").ReplyCutError):
            toy.get("/toy/export")
    else:
        reply = toy.get("/toy/export")

        assert (reply.status, reply.body, type(reply.error).__name__) == (200, b"ab", "ReplyCutError")
    assert recorder.errors == {"web": 1}


def raising(request: obskit.Request) -> Any:
    raise RuntimeError("a secret")


WRONG = {
    "raises": raising,
    "None": lambda request: None,
    "a text": lambda request: "a text",
    "a text as body": lambda request: OwnReply(200, PLAIN, "a text"),
    "no body": lambda request: OwnReply(200, PLAIN, None),
    "no status": lambda request: OwnReply("200", PLAIN),
    "a status that is none": lambda request: OwnReply(99, PLAIN),
    "a header with a line end": lambda request: OwnReply(200, [("X-A", "a\r\nSet-Cookie: b=c")]),
    "a name with a line end": lambda request: OwnReply(200, [("X-A\r\nB", "a")]),
    "a header of other letters": lambda request: OwnReply(200, [("X-A", "\u20ac")]),
    "a header that is no text": lambda request: OwnReply(200, [("X-A", 5)]),
    "headers that are none": lambda request: OwnReply(200, ["X-A"]),
    "a first piece that raises": lambda request: OwnReply(200, PLAIN, pieces_of(ValueError("a secret"))),
    "a first piece that is a text": lambda request: OwnReply(200, PLAIN, pieces_of("a text")),
}


@fronts()
def test_handler_that_fails(toy):
    """
    What a handler raises, or gives in place of a reply, is a 500 that tells nothing, and is counted.
    """
    for place, handler in enumerate(WRONG.values()):
        toy.answer(f"wrong/{place}", handler)
    replies = {name: toy.get(f"/toy/wrong/{place}") for place, name in enumerate(WRONG)}

    words = b"this failed; the application's log says why\n"
    assert {name: (reply.error, reply.status, reply.body) for name, reply in replies.items()} == dict.fromkeys(
        WRONG, (None, 500, words)
    )
    assert recorder.errors == {"web": len(WRONG)}


@fronts()
def test_head(toy):
    """
    HEAD has the head of a GET and no body, and what would make it is closed.
    """
    toy.answer("export", lambda request: OwnReply(200, PLAIN, pieces_of(b"a")))
    get, head, export = toy.get("/toy/page"), toy.get("/toy/page", method="HEAD"), toy.get("/toy/export", method="HEAD")

    assert (get.status, get.header("content-length")) == (head.status, head.header("content-length"))
    assert (head.body, export.body, export.header("content-length")) == (b"", b"", [])


# Paths


AMBIGUOUS = (
    *("/toy/../admin", "/toy/a/..", "/toy/./a", "/toy//a", "/toy/a//b", "/toy/a\\b", "/toy/a\x00b", "/toy/a\x7f"),
)
BELOW = ("/toy/", "/toy/nothing", "/toy/a/b/", "/toy/%2e%2e/a", "/toy/a%2fb", "/toy/...", "/toy/.a")
ELSEWHERE = ("//toy/page", "/toyx", "/toy", "/a/../toy/page", "/Toy/page", "/toy%2fpage", "/x/toy/page")


@fronts()
def test_path_that_others_may_read_otherwise(toy):
    """
    Below the prefix nothing answers to a path that means one thing here and another elsewhere, and no handler sees it.
    """
    replies = [toy.get(path) for path in AMBIGUOUS]

    assert [(reply.status, reply.body) for reply in replies] == [(404, b"there is nothing here\n")] * len(AMBIGUOUS)


@fronts()
def test_path_below_the_prefix(toy):
    """
    Whatever has no route of its own is the prefix's, decoded once and never again.
    """
    assert [toy.get(path).body.decode() for path in BELOW] == [f"no {path}" for path in BELOW]


@fronts()
def test_path_that_is_the_application_s(toy):
    """
    What does not begin with the prefix is the application's, as it was sent.
    """
    assert [path for path in ELSEWHERE if toy.get(path).body[:4] in (b"no /", b"a pa")] == []


@fronts()
def test_path_of_other_letters(toy):
    """
    A handler sees the letters that the client meant.
    """
    assert toy.upload("/toy/größe", whole(), "GET").reply.body.decode() == "no /toy/größe"


@fronts()
def test_below_where_the_application_is_deployed(toy):
    """
    A deployment's prefix stands before obskit's own.
    """
    assert [toy.get(path, root="/shop").body for path in ("/toy/page", "/toy/other")] == [b"a page", b"no /toy/other"]


def own_route(app, name):
    if name == "flask":
        app.add_url_rule("/toy/mine", view_func=lambda: "mine")
    elif name == "django_sync":
        from django.conf import settings
        from django.http import HttpResponse
        from django.urls import path

        settings.ROOT_URLCONF = (*settings.ROOT_URLCONF, path("toy/mine", lambda request: HttpResponse("mine")))
    else:
        app.add_route("/toy/mine", lambda request: None)


@only("flask", "starlette", "fastapi", "django_sync")
def test_application_was_there_first(stack):
    """
    A route of the application's below the prefix is not hidden: it is an error that names the setting.
    """
    with isolated_runtime() as isolated:
        isolated.runtime.routes.add_below("/toy", Route("toy_path", {}))
        app = stack.build(Scene(FakeClock()))
        own_route(app, stack.name)

        with pytest.raises(RouteTakenError, match=r"/toy/mine.*toy_path="):
            obskit.instrument(app)


# Threads


@fronts("asgi", "trio", urls=False)
def test_handler_runs_in_a_thread_in_the_request_s_context(toy):
    """
    The event loop is never held, and what the context of the request has is seen there, piece after piece.
    """
    seen = []

    def look() -> Iterator[bytes]:
        for _ in range(3):
            seen.append((HELD.get(), threading.get_ident() == here))
            yield b"x"

    here = threading.get_ident()
    toy.answer("seen", lambda request: OwnReply(200, PLAIN, look()))
    held = HELD.set("a request")
    try:
        toy.get("/toy/seen")
    finally:
        HELD.reset(held)

    assert seen == [("a request", False)] * 3


@fronts("asgi", "trio", urls=False)
def test_handler_that_hangs(toy):
    """
    Its client is told in time; the next is told that it is busy; probes and scrapes never wait for it.
    """
    release, over = threading.Event(), threading.Event()

    def hang(request: obskit.Request) -> OwnReply:
        release.wait(30)
        over.set()
        return OwnReply(200, PLAIN, pieces_of(b"late"))

    toy.answer("hang", hang, seconds=0.05)
    toy.answer("next", lambda request: text(200, "next"), seconds=0.05)
    try:
        first, second = toy.get("/toy/hang"), toy.get("/toy/next")
        others = [toy.get(path).status for path in ("/health", "/health/ready", "/metrics", "/metrics")]
    finally:
        release.set()

    assert (first.status, first.body) == (503, b"this took longer than 0.05 s\n")
    assert (second.status, second.header("retry-after")) == (503, ["1"])
    assert others == [200] * 4
    assert over.wait(10)


@fronts("wsgi")
def test_slow_handlers_come_one_at_a_time(toy, monkeypatch):
    """
    While one runs another is told that the worker is busy, and probes and scrapes are answered.
    """
    monkeypatch.setattr("obskit.bounded_calls.Lane.run.__defaults__", (0.05,))
    inside, release = threading.Event(), threading.Event()

    def hang(request: obskit.Request) -> OwnReply:
        inside.set()
        release.wait(30)
        return text(200, "done")

    toy.answer("hang", hang)
    app, replies = toy.app, []
    first = threading.Thread(target=lambda: replies.append(call_wsgi(app, Request("/toy/hang"))))
    first.start()
    assert inside.wait(10)
    try:
        statuses = [call_wsgi(app, Request(path)).status for path in ("/toy/page", "/health/ready", "/metrics")]
    finally:
        release.set()
        first.join(10)

    assert statuses == [503, 200, 200]
    assert [reply.status for reply in replies] == [200]
    assert call_wsgi(app, Request("/toy/page")).status == 200


@fronts("asgi", urls=False)
def test_event_loop_goes_on_while_a_handler_works(toy):
    """
    Another request of the same loop is answered before the handler is let go.
    """
    release = threading.Event()
    toy.answer("wait", lambda request: release.wait(30) and text(200, "waited"))
    app = toy.app

    async def both() -> list[Any]:
        waiting = asyncio.ensure_future(exchange(app, Request("/toy/wait")))
        others = [await exchange(app, Request(path)) for path in ("/health", "/metrics", "/items/7")]
        release.set()
        return [*others, await waiting]

    assert [reply.status for reply in asyncio.run(both())] == [200] * 4


@fronts("asgi", urls=False)
def test_request_that_is_cancelled(toy):
    """
    A handler whose client's task was cancelled works on, and the generator that it gives is closed.
    """
    inside, release, closed = threading.Event(), threading.Event(), threading.Event()

    def work(request: obskit.Request) -> OwnReply:
        inside.set()
        release.wait(30)
        return OwnReply(200, PLAIN, pieces_of(b"a", b"b", closed=closed))

    toy.answer("work", work)
    ending = Ending(cancel_when=lambda: asyncio.to_thread(inside.wait, 10))
    reply = toy.get("/toy/work", ending)
    release.set()

    assert isinstance(reply.error, asyncio.CancelledError)
    assert closed.wait(10)


@fronts()
def test_streams_are_bounded(toy):
    """
    Replies in pieces that nobody reads to the end do not pile up: one more is told that the worker is busy.
    """
    held = []

    def export(request: obskit.Request) -> OwnReply:
        return OwnReply(200, PLAIN, pieces_of(b"a", b"b"))

    toy.answer("export", export)
    routes = toy.runtime.runtime.routes
    for _ in range(4):
        held.append(routes.answer(obskit.Request("GET", "/toy/export", "", {}.get, None)))
    busy = toy.get("/toy/export").status
    held.pop().body.close()

    assert (busy, toy.get("/toy/export").status) == (503, 200)
    held.clear()
    assert toy.get("/toy/export").status == 200


# Real servers


@pytest.mark.parametrize(
    ("front", "server"),
    [
        pytest.param(front, server, id=f"{front.stack.name}-{libraries[0]}")
        for front in FRONTS
        for server, libraries in SERVERS.items()
        if front.stack.has(server) and not front.urls and front.loop != "trio" and all(map(find_spec, libraries))
    ],
)
def test_over_a_socket(toy, server, monkeypatch):
    """
    A real server's bodies and pieces: whole, too large, too slow, and a reply in pieces.
    """
    from .posts import get_whole, post, post_slowly

    monkeypatch.setattr(bodies, "SECONDS", 1.0)
    toy.answer("export", lambda request: OwnReply(200, PLAIN, pieces_of(b"a" * 1000, b"b" * 1000)))
    with serving(server, toy.app) as port:
        replies = [
            post(port, "/toy/echo", b"hello"),
            post(port, "/toy/echo", b"x" * (MOST + 1)),
            post(port, "/metrics", b"hello"),
            (post_slowly(port, "/toy/echo"), b""),
            get_whole(port, "/toy/export"),
        ]

    assert [status for status, _ in replies] == [200, 413, 405, 408, 200]
    assert (replies[0][1], replies[4][1]) == (b"hello", b"a" * 1000 + b"b" * 1000)


@fronts("wsgi")
def test_a_page_that_hangs_takes_few_of_the_servers_threads(toy, monkeypatch):
    """
    Of requests for a page that does not come, so many hang as it has places; those after them are refused, and probes
    are answered.
    """
    monkeypatch.setattr("obskit.bounded_calls.Lane.run.__defaults__", (0.05,))
    release, inside = threading.Event(), threading.Semaphore(0)

    def hang(request: obskit.Request) -> OwnReply:
        inside.release()
        release.wait(30)
        return text(200, "done")

    toy.answer("hang", hang, lane=Lane(2, name="test"))
    app, replies = toy.app, []
    hanging = [
        threading.Thread(target=lambda: replies.append(call_wsgi(app, Request("/toy/hang")).status)) for _ in range(2)
    ]
    for thread in hanging:
        thread.start()
    try:
        assert all(inside.acquire(timeout=10) for _ in range(2))
        statuses = [call_wsgi(app, Request(path)).status for path in ("/toy/hang", "/toy/hang", "/health/ready")]
    finally:
        release.set()
        for thread in hanging:
            thread.join(10)

    assert [503, 503, 200] == statuses
    assert [200, 200] == replies
