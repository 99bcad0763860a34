"""obskit, metrics alone: no correlation ids, no access line."""

import base
from variants import obskit as everything


def make_app(framework):
    return everything._instrument(framework, access_log=False, correlation=False)


proof = base.prometheus_proof
