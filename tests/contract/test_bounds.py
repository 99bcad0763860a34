"""
What a client can choose adds no series, and a request leaves nothing behind.
"""

import asyncio
import gc
import logging
import os
import random
import string
from collections import Counter
from itertools import cycle

import pytest

from obskit.operation import OTHER
from obskit.testing import FakeClock, RecordingSink, isolated_runtime

from .drivers import Request, call_wsgi, exchange
from .scene import Scene
from .shop import Shop
from .stack import UNMATCHED
from .stacks import stacks

ITEM, USER = "/items/{item_id:int}", "/t/{tenant}/u/{uid:int}"


@pytest.fixture(autouse=True)
def quiet_django(caplog):
    """
    Disable Django's log of each reply of 4xx.
    """
    caplog.set_level(logging.CRITICAL, "django")


@pytest.fixture
def shop(stack):
    """
    Serve the stack's application with everything on, and keep nothing of its requests.
    """
    clock = FakeClock()
    with open(os.devnull, "w") as nowhere, isolated_runtime(clock=clock, log_stream=nowhere) as runtime:
        yield Shop(stack, Scene(clock), runtime, RecordingSink())


@pytest.fixture
def no_threads(stack, monkeypatch):
    """
    Run what Django runs in threads in the event loop: a thread for each request takes ten times as long.
    """

    async def inline(self, *args, **kwargs):
        return self.func(*args, **kwargs)

    if stack.name == "django_async":
        monkeypatch.setattr("asgiref.sync.SyncToAsync.__call__", inline)


def serve(app, requests, protocol):
    """
    Serve requests one after the other; on ASGI in one event loop, as a server does.
    """

    async def one_by_one():
        for request in requests:
            await exchange(app, request)

    if protocol == "asgi":
        asyncio.run(one_by_one())
    else:
        for request in requests:
            call_wsgi(app, request)


def scanned(count):
    """
    Make paths as scanners and users do: names that lead nowhere, and values of two routes. Seeded, none comes twice.
    """
    dice = random.Random(7)
    paths = set()
    while len(paths) < count:
        name, number = f"{dice.getrandbits(64):x}", dice.getrandbits(40)
        paths.add(dice.choice([f"/{name}", f"/{name}/é {name}.php", f"/items/{number}", f"/t/{name}/u/{number}"]))
    return [Request(path) for path in paths]


def invented(count):
    """
    Make methods that no RFC knows.
    """
    dice = random.Random(7)
    return {"".join(dice.choices(string.ascii_uppercase, k=9)) for _ in range(count)}


def series(shop):
    """
    List every series of the registry, name and labels, but those that no request makes: the system's and the pools'.
    """
    assert shop.runtime.registry is not None
    return {
        (sample.name, *sample.labels.items())
        for family in shop.runtime.registry.collect()
        for sample in family.samples
        if not sample.name.startswith(("system_", "database_connections_"))
    }


def counted(shop):
    """
    List the label sets of `http_requests_total`: method, endpoint, status.
    """
    return {tuple(dict(labels).values()) for name, *labels in series(shop) if name == "http_requests_total"}


@stacks()
def test_random_paths_add_no_series(shop, no_threads):
    """
    Ten thousand paths make the series that one of each route makes.
    """
    first = [Request("/items/7"), Request("/t/acme/u/7"), Request("/nowhere")]
    serve(shop.app, first, shop.stack.protocol)
    at_first = series(shop)

    serve(shop.app, scanned(10_000), shop.stack.protocol)

    spell = shop.stack.spell
    assert {("GET", UNMATCHED, "404"), ("GET", spell(ITEM), "200"), ("GET", spell(USER), "200")} == counted(shop)
    assert at_first == series(shop)


@stacks()
def test_invented_methods_share_one_series(shop):
    """
    Three hundred methods are counted as one, on a route and off it.
    """
    paths = ("/items/7", "/nowhere")
    serve(shop.app, [Request(path, method="FIRST") for path in paths], shop.stack.protocol)
    at_first = series(shop)

    requests = [Request(path, method=method) for method, path in zip(invented(300), cycle(paths), strict=False)]
    serve(shop.app, requests, shop.stack.protocol)

    assert {(OTHER, shop.stack.endpoint_of_405(ITEM), "405"), (OTHER, UNMATCHED, "404")} == counted(shop)
    assert at_first == series(shop)


class Onlooker:
    """
    Stand where obskit's operation stands, and only pass on.
    """

    def __init__(self, *calls):
        self.calls = calls

    def first(self, *args):
        return self.calls[0](*args)

    def second(self, *args):
        return self.calls[1](*args)


def looked_at(app, protocol):
    """
    Put an onlooker in front of each request of an application that obskit has never seen.
    """

    def wsgi(environ, start_response):
        return app(environ, Onlooker(start_response).first)

    async def asgi(scope, receive, send):
        onlooker = Onlooker(receive, send)
        await app(scope, onlooker.first, onlooker.second)

    return wsgi if protocol == "wsgi" else asgi


def left_by_a_hundred(app, request, protocol, module):
    """
    Count the objects of one module's classes that a hundred requests leave, warmed up by ten.
    """
    serve(app, [request] * 10, protocol)
    before = living(module)
    serve(app, [request] * 100, protocol)
    return (living(module) - before).total()


def living(module):
    return Counter(cls for cls in map(type, gc.get_objects()) if str(cls.__module__).startswith(module))


@pytest.fixture
def no_collection():
    """
    Leave memory to reference counting alone.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@stacks()
@pytest.mark.parametrize("path", ["/items/7", "/nowhere", "/stream"])
def test_a_request_leaves_no_cycle(shop, path, no_collection):
    """
    Reference counting frees all that obskit makes for a request, but what a cycle of the framework's own holds.

    Flask's 404 and Django's ASGI handler make one each time; an onlooker in obskit's place stays as well.
    """
    protocol, bare = shop.stack.protocol, shop.stack.build(shop.scene)
    by_framework = left_by_a_hundred(looked_at(bare, protocol), Request(path), protocol, Onlooker.__module__)

    assert by_framework == left_by_a_hundred(shop.app, Request(path), protocol, "obskit")
