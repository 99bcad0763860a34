"""
An application with a part of somebody else's, for several workers.
"""

import json
import os

import obskit
from obskit import runtime

runtime.COMPONENTS += ("toy.component:Toy",)


def shop(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(os.getpid()).encode()]


wsgi = obskit.instrument(shop, service="toys", toy_every="0.2s", toy_token="t0ken")
