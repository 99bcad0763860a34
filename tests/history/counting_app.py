"""
An application that counts what it answers, for several workers.
"""

import json
import os

import obskit

plates = obskit.counter("plates_total", "Plates.", labels=("kind",))
oven = obskit.histogram("oven_seconds", "Time in the oven.")


def shop(environ, start_response):
    plates.inc(kind=environ["PATH_INFO"].strip("/") or "none")
    oven.observe(0.125)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(os.getpid()).encode()]


wsgi = obskit.instrument(shop, service=os.environ["SERVICE_OF_TEST"], history=True, history_every="1s")
