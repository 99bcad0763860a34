"""
Build the application with FastAPI.
"""

from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel

from ..scene import OWN_TIMING, Boom, Scene, flowing
from ..stack import Stack, plain
from .starlette import CAN, answer_conflict


class Order(BaseModel):
    quantity: int


def build(scene: Scene) -> FastAPI:
    app = FastAPI(
        default_response_class=PlainTextResponse,
        exception_handlers={ValueError: answer_conflict},
    )
    app.include_router(things_in_api(), prefix="/api")
    app.mount("/t/{tenant}", users())
    app.mount("/sub", things())
    add_plain_views(app)
    add_failing_views(app)
    add_steered_views(app, scene)
    return app


def things_in_api() -> APIRouter:
    api, v1 = APIRouter(), APIRouter(prefix="/v1")

    @v1.get("/things/{thing_id}")
    async def thing(thing_id: int):
        return f"thing {thing_id}"

    api.include_router(v1)
    return api


def users() -> FastAPI:
    tenants = FastAPI(default_response_class=PlainTextResponse)

    @tenants.get("/u/{uid}")
    async def user(request: Request, uid: int):
        return f"{request.path_params['tenant']} {uid}"

    return tenants


def things() -> FastAPI:
    sub = FastAPI(default_response_class=PlainTextResponse)

    @sub.get("/things/{thing_id}")
    async def thing(thing_id: int):
        return f"thing {thing_id}"

    return sub


def add_plain_views(app: FastAPI) -> None:
    @app.api_route("/items/{item_id}", methods=["GET", "HEAD"])
    async def item(item_id: int):
        return f"item {item_id}"

    @app.post("/orders")
    async def order(wanted: Order):
        return f"ordered {wanted.quantity}"

    @app.post("/upload")
    async def upload(request: Request):
        return str(len(await request.body()))

    @app.get("/moved")
    async def moved():
        return RedirectResponse("/items/7", 302)

    @app.get("/own-id")
    async def own_id():
        return PlainTextResponse("own", headers={"X-Correlation-ID": "mine"})

    @app.websocket("/ws")
    async def shout(websocket: WebSocket):
        await websocket.accept()
        await websocket.send_text((await websocket.receive_text()).upper())
        await websocket.close()


def add_failing_views(app: FastAPI) -> None:
    @app.get("/absent")
    async def absent():
        raise HTTPException(404)

    @app.get("/conflict")
    async def conflict():
        raise ValueError

    @app.get("/boom")
    async def boom():
        raise Boom


def add_steered_views(app: FastAPI, scene: Scene) -> None:
    @app.get("/stream")
    async def stream():
        return StreamingResponse(flowing(scene.stream()))

    @app.get("/endless")
    async def endless():
        return StreamingResponse(flowing(scene.endless()))

    @app.get("/halfway")
    async def halfway():
        return StreamingResponse(flowing(scene.halfway()))

    @app.get("/inside")
    async def inside():
        return scene.look()

    @app.get("/inside/thread")
    def inside_thread():
        return scene.look()

    @app.api_route("/timed", methods=["GET", "HEAD"])
    async def timed():
        return PlainTextResponse(scene.look(), scene.status, OWN_TIMING)

    @app.get("/meet/{size}")
    async def meet(size: int):
        await scene.meet()
        return "x" * size

    @app.get("/background")
    async def background(tasks: BackgroundTasks):
        tasks.add_task(scene.later)
        return "done"


STACK = Stack("fastapi", "asgi", build, plain, CAN | {"late validation"}, invalid_status=422)
