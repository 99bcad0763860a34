"""
Build the application on nothing but WSGI.
"""

from http import HTTPStatus

from ..scene import Scene
from ..stack import Stack, plain
from . import raw


def meet(scene: Scene, body: bytes, size: str) -> raw.Answer:
    scene.meet()
    return raw.Answer(body=b"x" * int(size))


VIEWS = raw.VIEWS | {"/meet/{size:int}": (("GET",), meet)}


def build(scene: Scene):
    def application(environ, start_response):
        view, parameters = raw.route(VIEWS, environ["REQUEST_METHOD"], environ["PATH_INFO"])
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = view(scene, body, **parameters)
        status = HTTPStatus(answer.status)
        start_response(f"{status.value} {status.phrase}", answer.all_headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            return []
        return [answer.body] if isinstance(answer.body, bytes) else answer.body

    return application


STACK = Stack("wsgi", "wsgi", build, plain)
