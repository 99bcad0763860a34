"""
Build the application with Starlette.
"""

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from ..scene import OWN_TIMING, Boom, Scene, flowing
from ..stack import Stack, starlette

CAN = frozenset({"background", "error page", "route of 405", "sub-application", "trio", "websocket"})


def build(scene: Scene) -> Starlette:
    things = [Route("/things/{thing_id:int}", thing)]
    return Starlette(
        routes=[
            Route("/items/{item_id:int}", item),
            Mount("/api", routes=[Mount("/v1", routes=things)]),
            Mount("/t/{tenant}", routes=[Route("/u/{uid:int}", user)]),
            Mount("/sub", app=Starlette(routes=things)),
            Route("/orders", order, methods=["POST"]),
            Route("/upload", upload, methods=["POST"]),
            Route("/absent", absent),
            Route("/conflict", conflict),
            Route("/boom", boom),
            Route("/moved", moved),
            Route("/own-id", own_id),
            WebSocketRoute("/ws", shout),
            *steered(scene),
        ],
        exception_handlers={ValueError: answer_conflict},
    )


async def item(request):
    return PlainTextResponse(f"item {request.path_params['item_id']}")


async def thing(request):
    return PlainTextResponse(f"thing {request.path_params['thing_id']}")


async def user(request):
    return PlainTextResponse("{tenant} {uid}".format(**request.path_params))


async def order(request):
    try:
        wanted = await request.json()
    except ValueError:
        raise HTTPException(400) from None
    return PlainTextResponse(f"ordered {wanted['quantity']}")


async def upload(request):
    return PlainTextResponse(str(len(await request.body())))


async def absent(request):
    raise HTTPException(404)


async def conflict(request):
    raise ValueError


async def answer_conflict(request, error):
    return PlainTextResponse("conflict", 409)


async def boom(request):
    raise Boom


async def moved(request):
    return RedirectResponse("/items/7", 302)


async def own_id(request):
    return PlainTextResponse("own", headers={"X-Correlation-ID": "mine"})


async def shout(websocket):
    await websocket.accept()
    await websocket.send_text((await websocket.receive_text()).upper())
    await websocket.close()


def steered(scene: Scene) -> list[Route]:
    async def stream(request):
        return StreamingResponse(flowing(scene.stream()))

    async def endless(request):
        return StreamingResponse(flowing(scene.endless()))

    async def halfway(request):
        return StreamingResponse(flowing(scene.halfway()))

    async def inside(request):
        return PlainTextResponse(scene.look())

    def inside_thread(request):
        return PlainTextResponse(scene.look())

    async def timed(request):
        return PlainTextResponse(scene.look(), scene.status, OWN_TIMING)

    async def meet(request):
        await scene.meet()
        return PlainTextResponse("x" * request.path_params["size"])

    async def background(request):
        return PlainTextResponse("done", background=BackgroundTask(scene.later))

    return [
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/halfway", halfway),
        Route("/inside", inside),
        Route("/inside/thread", inside_thread),
        Route("/timed", timed),
        Route("/meet/{size:int}", meet),
        Route("/background", background),
    ]


STACK = Stack("starlette", "asgi", build, starlette, CAN)
