"""
Find the provider by the host of a request.

The names are `gen_ai.provider.name` of the OpenTelemetry GenAI conventions (2026-11); where they have none, the name
that `genai-prices` has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

CLOUDS = {
    "amazonaws.com": "aws.bedrock",
    "amazonaws.com.cn": "aws.bedrock",
    "amazonaws.eu": "aws.bedrock",
    "api.aws": "aws.bedrock",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "rep.googleapis.com": "gcp.vertex_ai",
    "s3nsapis.fr": "gcp.vertex_ai",
    "api.deepseek.com": "deepseek",
    "openrouter.ai": "openrouter",
    "api.minimax.io": "minimax",
    "api.minimaxi.com": "minimax",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "api.z.ai": "zai",
    "open.bigmodel.cn": "zhipuai",
    "inference.baseten.co": "baseten",
}
# Regions of Vertex AI have hosts that begin alike: `us-east5-aiplatform.googleapis.com`.
_vertex = re.compile(
    r"\A(?:([a-z0-9-]+)-)?aiplatform\.googleapis\.com|aiplatform\.([a-z0-9-]+)\.rep\.googleapis\.com"
).fullmatch
_openai = re.compile(r"([a-z]{2})\.api\.openai\.com").fullmatch


def provider_of(host: str, known: Mapping[str, str]) -> str | None:
    """
    Return the provider of a host, or of one of its parent domains; None if it is unknown.
    """
    labels, most = host.split("."), 1 + max((name.count(".") for name in known), default=0)
    ends = (".".join(labels[at:]) for at in range(max(len(labels) - most, 0), len(labels)))
    found = next((known[end] for end in ends if end in known), None)
    if host.startswith("aws-external-anthropic."):
        return "anthropic"  # which sells its own platform there
    return found or ("gcp.vertex_ai" if _vertex(host) else None)


@lru_cache(256)
def region_of(host: str) -> str | None:
    """
    Return the region of a host, for providers with regional prices; None if it is global or unknown.
    """
    if not host.endswith((".googleapis.com", ".openai.com")):
        return None
    found = _vertex(host) or _openai(host)
    return None if found is None else next((group for group in found.groups() if group), None)
