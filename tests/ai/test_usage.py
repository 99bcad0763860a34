"""
Usage: what is read from a reply of either form.
"""

import pytest

from obskit.ai.usage import Usage, read

STEP = {"input_tokens": 3, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1, "output_tokens": 4}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            {
                "model": "claude",
                "usage": {
                    "input_tokens": 2000,
                    "cache_read_input_tokens": 8000,
                    "cache_creation_input_tokens": 2000,
                    "cache_creation": {"ephemeral_5m_input_tokens": 1500, "ephemeral_1h_input_tokens": 500},
                    "output_tokens": 700,
                    "output_tokens_details": {"thinking_tokens": 200},
                    "server_tool_use": {"web_search_requests": 2},
                    "service_tier": "batch",
                    "speed": "fast",
                },
            },
            Usage(
                **{"input": 2000, "cache_read": 8000, "cache_write": 2000, "cache_write_1h": 500, "output": 700},
                **{"reasoning": 200, "web_searches": 2, "tier": "batch", "speed": "fast", "model": "claude"},
            ),
        ),
        (
            {
                "model": "gpt",
                "service_tier": "flex",
                "usage": {
                    "prompt_tokens": 12000,
                    "completion_tokens": 700,
                    "prompt_tokens_details": {"cached_tokens": 8000, "cache_write_tokens": 2000, "audio_tokens": 5},
                    "completion_tokens_details": {"reasoning_tokens": 200, "audio_tokens": 6},
                },
            },
            Usage(
                **{"input": 2000, "cache_read": 8000, "cache_write": 2000, "output": 700, "reasoning": 200},
                **{"audio_input": 5, "audio_output": 6, "tier": "flex", "model": "gpt"},
            ),
        ),
        (
            {
                "model": "gpt",
                "tool_usage": {"web_search": {"num_requests": 3}},
                "usage": {
                    "input_tokens": 100,
                    "input_tokens_details": {"cached_tokens": 40},
                    "output_tokens": 9,
                    "output_tokens_details": {"reasoning_tokens": 4},
                    "total_tokens": 109,
                },
            },
            Usage(input=60, cache_read=40, output=9, reasoning=4, web_searches=3, model="gpt"),
        ),
        ({"model": "embed", "usage": {"prompt_tokens": 7, "total_tokens": 7}}, Usage(input=7, model="embed")),
    ],
    ids=["messages", "chat", "responses", "embeddings"],
)
def test_every_form_has_the_same_kinds(reply, expected):
    """
    Whatever the form, input is without caches, reasoning is a part of output, and the kinds add up.
    """
    assert read(reply) == expected


def test_iterations_outside_of_the_whole_are_parts():
    """
    A compaction and an advisor are not in a message's own figures; its further steps are.
    """
    steps = [
        {"type": "message", **STEP},
        {"type": "fallback_message", "model": "claude-fallback", **STEP},
        {"type": "compaction", **STEP},
        {"type": "advisor_message", "model": "claude-advisor", **STEP},
    ]
    usage = read({"model": "claude", "usage": {**STEP, "iterations": steps}})

    assert [part.model for part in usage.parts] == [None, "claude-advisor"]
    assert usage.tokens() == (9, 6, 3, 12)


@pytest.mark.parametrize(
    "reply",
    [
        *(None, "text", 7, {}, {"usage": None}, {"usage": {}}, {"usage": 3}),
        {"usage": {"input_tokens": -1, "output_tokens": 1}},
        {"usage": {"input_tokens": 10**12}},
        {"usage": {"input_tokens": "7"}},
        {"usage": {"input_tokens": True}},
        {"usage": {"input_tokens": 1.5}},
        {"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}},
    ],
)
def test_what_cannot_be_right_is_unknown(reply):
    """
    No usage, and figures that no provider can have meant, are no usage at all.
    """
    assert read(reply) is None
