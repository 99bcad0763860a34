"""
Configure Django once a process, and hold what its synchronous and asynchronous sites share.

Django has one `ROOT_URLCONF` a process: the site that was built last is the one that is served.
"""

import json
from collections.abc import Callable, Iterable

import django
from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import clear_url_caches, include, path
from django.utils.deprecation import MiddlewareMixin
from django.views.decorators.http import require_GET, require_POST, require_safe

from ..scene import Boom

CAN = frozenset({"error page", "route of 405"})
View = Callable[..., object]


class AnswerConflict(MiddlewareMixin):
    """
    Turn a view's ValueError into a 409, as an error handler does elsewhere.
    """

    def process_exception(self, request, error):
        return HttpResponse("conflict", status=409) if isinstance(error, ValueError) else None


MIDDLEWARE = ["django.middleware.common.CommonMiddleware", f"{__name__}.AnswerConflict"]

settings.configure(
    ALLOWED_HOSTS=["*"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=MIDDLEWARE,
    SECRET_KEY="contract",
    USE_TZ=True,
)
django.setup()


@require_safe
def item(request, item_id):
    return HttpResponse(f"item {item_id}")


@require_GET
def thing(request, thing_id):
    return HttpResponse(f"thing {thing_id}")


@require_GET
def user(request, tenant, uid):
    return HttpResponse(f"{tenant} {uid}")


@require_POST
def order(request):
    try:
        return HttpResponse(f"ordered {json.loads(request.body)['quantity']}")
    except ValueError:
        raise BadRequest from None


@require_POST
def upload(request):
    return HttpResponse(str(len(request.body)))


def absent(request):
    raise Http404


def conflict(request):
    raise ValueError


def boom(request):
    raise Boom


def moved(request):
    return HttpResponseRedirect("/items/7")


def own_id(request):
    return HttpResponse("own", headers={"X-Correlation-ID": "mine"})


def serve_site(steered: Iterable[object], adapt: Callable[[View], View] = lambda view: view) -> None:
    """
    Make these paths, and the ones that both sites have, the URLconf of the process.
    """
    settings.ROOT_URLCONF = (
        path("items/<int:item_id>", adapt(item)),
        path("api/", include([path("v1/", include([path("things/<int:thing_id>", adapt(thing))]))])),
        path("t/<tenant>/", include([path("u/<int:uid>", adapt(user))])),
        path("orders", adapt(order)),
        path("upload", adapt(upload)),
        path("absent", adapt(absent)),
        path("conflict", adapt(conflict)),
        path("boom", adapt(boom)),
        path("moved", adapt(moved)),
        path("own-id", adapt(own_id)),
        *steered,
    )
    clear_url_caches()
