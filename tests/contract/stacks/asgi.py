"""
Build the application on nothing but ASGI.
"""

import asyncio
import inspect

from ..scene import Scene, flowing
from ..stack import Stack, plain
from . import raw


async def meet(scene: Scene, body: bytes, size: str) -> raw.Answer:
    await scene.meet()
    return raw.Answer(body=b"x" * int(size))


async def inside_thread(scene: Scene, body: bytes) -> raw.Answer:
    return raw.Answer(body=(await asyncio.to_thread(scene.look)).encode())


VIEWS = raw.VIEWS | {
    "/meet/{size:int}": (("GET",), meet),
    "/inside/thread": (("GET",), inside_thread),
    "/background": (("GET",), lambda scene, body: raw.Answer(body=b"done")),
}


def build(scene: Scene):
    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        if scope["type"] == "websocket":
            return await shout(receive, send)
        path = scope["path"].removeprefix(scope["root_path"])
        view, parameters = raw.route(VIEWS, scope["method"], path)
        body = await whole_body(receive)
        if body is None:
            return None
        answer = view(scene, body, **parameters)
        await reply(await answer if inspect.isawaitable(answer) else answer, scope, receive, send)
        if path == "/background":
            scene.later()

    return application


async def whole_body(receive) -> bytes | None:
    """
    Read the request's body; None where the client left before its end.
    """
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            return body
    return None


async def reply(answer: raw.Answer, scope, receive, send) -> None:
    headers = [(name.lower().encode(), text.encode()) for name, text in answer.all_headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if isinstance(answer.body, bytes):
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})
    else:
        await pour(answer.body, receive, send)


async def pour(chunks, receive, send) -> None:
    """
    Send chunk after chunk until they end or the client leaves, as frameworks do.
    """
    leaving = asyncio.ensure_future(receive())
    try:
        async for chunk in flowing(chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if leaving.done():
                return
        await send({"type": "http.response.body"})
    finally:
        leaving.cancel()


async def lifespan(receive, send) -> None:
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def shout(receive, send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    await send({"type": "websocket.send", "text": message["text"].upper()})
    await send({"type": "websocket.close", "code": 1000})


STACK = Stack("asgi", "asgi", build, plain, frozenset({"background", "websocket"}))
