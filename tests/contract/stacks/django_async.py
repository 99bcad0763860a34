"""
Build the application with Django's asynchronous views, served over ASGI.
"""

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from ..scene import OWN_TIMING, Scene, flowing
from ..stack import Stack, angled
from .django_site import CAN, serve_site


def build(scene: Scene):
    serve_site(steered(scene), asynchronous)
    return ClosingHandler()


class ClosingHandler(ASGIHandler):
    """
    Django's handler, and close the request's body, which Django forgets when a view or a client breaks off.

    Else whatever test the collector happens to run in would be warned of it.
    """

    async def handle(self, scope, receive, send):
        try:
            await super().handle(scope, receive, send)
        finally:
            if "body_file" in scope:
                scope["body_file"].close()

    def create_request(self, scope, body_file):
        scope["body_file"] = body_file
        return super().create_request(scope, body_file)


def asynchronous(view):
    async def answer(request, **parameters):
        return view(request, **parameters)

    return answer


def steered(scene: Scene):
    async def stream(request):
        return StreamingHttpResponse(flowing(scene.stream()))

    async def endless(request):
        return StreamingHttpResponse(flowing(scene.endless()))

    async def halfway(request):
        return StreamingHttpResponse(flowing(scene.halfway()))

    async def inside(request):
        return HttpResponse(scene.look())

    async def inside_thread(request):
        return HttpResponse(await sync_to_async(scene.look)())

    async def timed(request):
        return HttpResponse(scene.look(), status=scene.status, headers=OWN_TIMING)

    async def meet(request, size):
        await scene.meet()
        return HttpResponse("x" * size)

    return [
        path("stream", stream),
        path("endless", endless),
        path("halfway", halfway),
        path("inside", inside),
        path("inside/thread", inside_thread),
        path("timed", timed),
        path("meet/<int:size>", meet),
    ]


STACK = Stack("django_async", "asgi", build, angled, CAN | {"late routing"})
