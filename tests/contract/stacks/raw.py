"""
Route and answer what the raw WSGI and the raw ASGI application have in common.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import obskit

from ..scene import OWN_TIMING, Boom, Scene
from ..stack import plain


@dataclass(frozen=True)
class Answer:
    """
    A reply: one piece of body with its length declared, or many without.
    """

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        declared = {"Content-Length": str(len(self.body))} if isinstance(self.body, bytes) else {}
        return [*({"Content-Type": "text/plain"} | self.headers | declared).items()]


View = Callable[..., Any]


def order(scene: Scene, body: bytes) -> Answer:
    try:
        return Answer(body=b"ordered %d" % json.loads(body)["quantity"])
    except ValueError:
        return Answer(400, b"not an order")


def conflict(scene: Scene, body: bytes) -> Answer:
    try:
        raise ValueError
    except ValueError:
        return Answer(409, b"conflict")


def boom(scene: Scene, body: bytes) -> Answer:
    raise Boom


VIEWS: dict[str, tuple[tuple[str, ...], View]] = {
    "/items/{item_id:int}": (
        ("GET", "HEAD"),
        lambda scene, body, item_id: Answer(body=f"item {item_id}".encode()),
    ),
    "/api/v1/things/{thing_id:int}": (
        ("GET",),
        lambda scene, body, thing_id: Answer(body=f"thing {thing_id}".encode()),
    ),
    "/t/{tenant}/u/{uid:int}": (
        ("GET",),
        lambda scene, body, tenant, uid: Answer(body=f"{tenant} {uid}".encode()),
    ),
    "/orders": (("POST",), order),
    "/upload": (("POST",), lambda scene, body: Answer(body=b"%d" % len(body))),
    "/absent": (("GET",), lambda scene, body: Answer(404, b"nothing here")),
    "/conflict": (("GET",), conflict),
    "/boom": (("GET",), boom),
    "/moved": (("GET",), lambda scene, body: Answer(302, headers={"Location": "/items/7"})),
    "/own-id": (
        ("GET",),
        lambda scene, body: Answer(body=b"own", headers={"X-Correlation-ID": "mine"}),
    ),
    "/stream": (("GET",), lambda scene, body: Answer(body=scene.stream())),
    "/endless": (("GET",), lambda scene, body: Answer(body=scene.endless())),
    "/halfway": (("GET",), lambda scene, body: Answer(body=scene.halfway())),
    "/timed": (
        ("GET", "HEAD"),
        lambda scene, body: Answer(scene.status, scene.look().encode(), OWN_TIMING),
    ),
    "/inside": (("GET",), lambda scene, body: Answer(body=scene.look().encode())),
}


def refuse(status: int, text: bytes) -> View:
    return lambda scene, body: Answer(status, text)


def route(views: dict[str, tuple[tuple[str, ...], View]], method: str, path: str) -> Any:
    """
    Find the view for a request and tell obskit its template; answer the view and its parameters.
    """
    for template, (methods, view) in views.items():
        pattern = re.sub(r"{(\w+):int}", r"(?P<\1>[0-9]+)", template)
        match = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", pattern), path)
        if match and method in methods:
            obskit.set_route(plain(template))
            return view, match.groupdict()
        if match:
            return refuse(405, b"wrong method"), {}
    return refuse(404, b"no such page"), {}
