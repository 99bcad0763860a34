"""
Read what the metrics page says, to hold it against the provider's bill.
"""

from .provider import KINDS


def _sum(runtime, sample, **labels):
    return sum(
        found.value
        for metric in runtime.registry.collect()
        for found in metric.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


def counted(runtime):
    """
    Return the tokens by kind and the dollars that are known.
    """
    return {k: _sum(runtime, "ai_tokens_used_total", kind=k) for k in KINDS}, _sum(runtime, "ai_cost_usd_total")


def estimated(runtime):
    return {kind: _sum(runtime, "ai_tokens_estimated_total", kind=kind) for kind in KINDS}


def unknown(runtime):
    """
    Count the calls of unknown cost.
    """
    return _sum(runtime, "ai_cost_unknown_total")
