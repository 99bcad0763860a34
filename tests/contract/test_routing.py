"""
The endpoint is the template that routing matched, in full, and nothing a client can choose.
"""

import pytest

from obskit.context import current

from .drivers import Request, call_asgi
from .shop import Record
from .stack import UNMATCHED
from .stacks import stacks

ITEM = "/items/{item_id:int}"


@stacks()
@pytest.mark.parametrize(
    ("path", "template"),
    [
        pytest.param("/items/7", ITEM, id="parameter"),
        pytest.param("/api/v1/things/7", "/api/v1/things/{thing_id:int}", id="nested twice"),
        pytest.param("/t/acme/u/7", "/t/{tenant}/u/{uid:int}", id="mount with a parameter"),
    ],
)
@pytest.mark.parametrize("root", ["", "/shop"], ids=["at the root", "below a prefix"])
def test_endpoint_is_the_whole_template(shop, path, template, root):
    """
    Parameters, nested routers and mounts keep their placeholders; what WSGI says it is mounted at is in front.
    """
    reply = shop.call(Request(path, root=root))

    prefix = root if shop.stack.has("prefix") else ""
    assert shop.records == [Record(endpoint=prefix + shop.stack.spell(template), bytes_sent=len(reply.body))]
    assert shop.operation.path == root + path


@stacks("sub-application")
@pytest.mark.parametrize("root", ["", "/shop"], ids=["at the root", "below a prefix"])
def test_endpoint_holds_the_mount_path_of_a_sub_application(shop, root):
    """
    What a mounted application matched is counted below the path it is mounted at.
    """
    shop.call(Request("/sub/things/7", root=root))

    assert shop.records == [Record(endpoint=shop.stack.spell("/sub/things/{thing_id:int}"), bytes_sent=7)]


@stacks("asgi")
def test_prefix_that_the_proxy_took_off_is_no_part_of_the_endpoint(shop):
    """
    Servers disagree whether `path` holds `root_path`; the endpoint is the same without.
    """

    def below_prefix(scope, receive, send):
        return shop.app({**scope, "root_path": "/shop"}, receive, send)

    call_asgi(below_prefix, Request("/items/7"))

    assert shop.records == [Record(endpoint=shop.stack.spell(ITEM), bytes_sent=6)]


@stacks()
@pytest.mark.parametrize("path", ["/nowhere", "/", "/items", "/t/acme/nowhere", "/sub/nowhere", "/%00\u00e9"])
def test_path_without_a_route_is_unmatched(shop, path):
    """
    Whatever a scanner asks for has one endpoint, below mounts too.
    """
    reply = shop.get(path)

    assert shop.records == [Record(endpoint=UNMATCHED, status=404, bytes_sent=len(reply.body))]


@stacks()
def test_value_that_the_route_refuses(shop):
    """
    A value of the wrong type matches no route, unless the framework validates it after routing.
    """
    reply = shop.get("/items/nan")

    validated = shop.stack.has("late validation")
    assert shop.records == [
        Record(
            endpoint=shop.stack.spell(ITEM) if validated else UNMATCHED,
            status=shop.stack.invalid_status if validated else 404,
            bytes_sent=len(reply.body),
        )
    ]


@stacks()
def test_view_that_answers_404_keeps_its_template(shop):
    """
    A 404 is unmatched only where routing found nothing.
    """
    reply = shop.get("/absent")

    assert shop.records == [Record(endpoint="/absent", status=404, bytes_sent=len(reply.body))]


@stacks()
@pytest.mark.parametrize(("method", "label"), [("POST", "POST"), ("PATCH", "PATCH"), ("BREW", "_OTHER")])
def test_wrong_method_is_405(shop, method, label):
    """
    A 405 has the template where routing tells it, else none; an invented method has one label.
    """
    reply = shop.call(Request("/items/7", method))

    assert shop.records == [
        Record(
            method=label,
            endpoint=shop.stack.endpoint_of_405(ITEM),
            status=405,
            bytes_sent=len(reply.body),
        )
    ]


@stacks()
def test_head_keeps_the_template(shop):
    """
    HEAD is a method of its own on the route of its GET, and is not cut short.
    """
    reply = shop.call(Request("/items/7", "HEAD"))

    assert shop.records == [Record(method="HEAD", endpoint=shop.stack.spell(ITEM), bytes_sent=len(reply.body))]


@stacks()
def test_options(shop):
    """
    OPTIONS is the route's where the framework answers it, else a wrong method as any other.
    """
    reply = shop.call(Request("/items/7", "OPTIONS"))

    answered = shop.stack.has("options")
    assert shop.records == [
        Record(
            method="OPTIONS",
            endpoint=shop.stack.spell(ITEM) if answered else shop.stack.endpoint_of_405(ITEM),
            status=200 if answered else 405,
            bytes_sent=len(reply.body),
        )
    ]


@stacks()
def test_redirect(shop):
    """
    A redirect is an ordinary reply of its route.
    """
    reply = shop.get("/moved")

    assert reply.header("location") == ["/items/7"]
    assert shop.records == [Record(endpoint="/moved", status=302, bytes_sent=0)]


@stacks()
def test_route_is_known_while_the_application_runs(shop):
    """
    Queries and AI calls are blamed on their route while it runs, before the operation's own endpoint is final.
    """
    shop.scene.inside = lambda: current.get().locate()
    reply = shop.get("/inside")

    assert [reply.body.decode()] == [record.endpoint for record in shop.records]
