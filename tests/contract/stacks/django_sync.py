"""
Build the application with Django's synchronous views, served over WSGI.
"""

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from ..scene import OWN_TIMING, Scene
from ..stack import Stack, angled
from .django_site import CAN, serve_site


def build(scene: Scene):
    serve_site(steered(scene))
    return get_wsgi_application()


def steered(scene: Scene):
    def meet(request, size):
        scene.meet()
        return HttpResponse("x" * size)

    return [
        path("stream", lambda request: StreamingHttpResponse(scene.stream())),
        path("endless", lambda request: StreamingHttpResponse(scene.endless())),
        path("halfway", lambda request: StreamingHttpResponse(scene.halfway())),
        path("inside", lambda request: HttpResponse(scene.look())),
        path("timed", lambda request: HttpResponse(scene.look(), status=scene.status, headers=OWN_TIMING)),
        path("meet/<int:size>", meet),
    ]


STACK = Stack("django_sync", "wsgi", build, angled, CAN | {"whole replies", "prefix"})
