"""obskit, everything on: metrics, correlation ids, access line, /metrics and /health."""

import base


def _instrument(framework, **settings):
    import obskit

    return obskit.instrument(base.bare(framework), service="bench", log_stream=base.devnull(), **settings)


def make_app(framework):
    return _instrument(framework)


proof = base.prometheus_proof
