"""
Build the application with Flask.
"""

from flask import Blueprint, Flask, abort, request

from ..scene import OWN_TIMING, Boom, Scene
from ..stack import Stack, angled


def build(scene: Scene) -> Flask:
    app = Flask("contract")
    app.register_error_handler(ValueError, lambda error: ("conflict", 409))
    app.register_blueprint(things_in_api(), url_prefix="/api")
    app.register_blueprint(users(), url_prefix="/t/<tenant>")
    add_plain_views(app)
    add_failing_views(app)
    add_steered_views(app, scene)
    return app


def things_in_api() -> Blueprint:
    api, v1 = Blueprint("api", __name__), Blueprint("v1", __name__)

    @v1.get("/things/<int:thing_id>")
    def thing(thing_id):
        return f"thing {thing_id}"

    api.register_blueprint(v1, url_prefix="/v1")
    return api


def users() -> Blueprint:
    tenants = Blueprint("tenants", __name__)

    @tenants.get("/u/<int:uid>")
    def user(tenant, uid):
        return f"{tenant} {uid}"

    return tenants


def add_plain_views(app: Flask) -> None:
    @app.get("/items/<int:item_id>")
    def item(item_id):
        return f"item {item_id}"

    @app.post("/orders")
    def order():
        return f"ordered {request.get_json()['quantity']}"

    @app.post("/upload")
    def upload():
        return str(len(request.data))

    @app.get("/moved")
    def moved():
        return "", 302, {"Location": "/items/7"}

    @app.get("/own-id")
    def own_id():
        return "own", {"X-Correlation-ID": "mine"}


def add_failing_views(app: Flask) -> None:
    @app.get("/absent")
    def absent():
        abort(404)

    @app.get("/conflict")
    def conflict():
        raise ValueError

    @app.get("/boom")
    def boom():
        raise Boom


def add_steered_views(app: Flask, scene: Scene) -> None:
    @app.get("/stream")
    def stream():
        return scene.stream()

    @app.get("/endless")
    def endless():
        return scene.endless()

    @app.get("/halfway")
    def halfway():
        return scene.halfway()

    @app.get("/inside")
    def inside():
        return scene.look()

    @app.get("/timed")
    def timed():
        return scene.look(), scene.status, OWN_TIMING

    @app.get("/meet/<int:size>")
    def meet(size):
        scene.meet()
        return "x" * size


STACK = Stack("flask", "wsgi", build, angled, frozenset({"error page", "options", "whole replies", "prefix"}))
