"""
Usage: what is read from a reply of either form.
"""

import pytest

from obskit.ai.stream import StreamState, accumulate_response
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
        {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}},
        {"usage": {"prompt_tokens": None, "completion_tokens": None}},
    ],
)
def test_what_cannot_be_right_is_unknown(reply):
    """
    No usage, and figures that no provider can have meant, are no usage at all.
    """
    assert read(reply) is None


CHATS = [
    # What others make of chat completions: (provider, usage, input, cache_read, output)
    ("x_ai", {"prompt_tokens": 9, "completion_tokens": 1260, "total_tokens": 1583, "reasoning": 314}, (9, 0, 1574)),
    ("x_ai", {"prompt_tokens": 9, "completion_tokens": 100, "reasoning": 50}, (9, 0, 150)),
    ("openai", {"prompt_tokens": 9, "completion_tokens": 100, "reasoning": 50}, (9, 0, 100)),
    ("acme", {"prompt_tokens": 9, "completion_tokens": 20, "reasoning": 50}, (9, 0, 70)),
    ("gcp.gemini", {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, (20, 0, 603)),
    ("acme", {"prompt_tokens": 100, "completion_tokens": None, "total_tokens": 400}, (100, 0, 300)),
    ("acme", {"prompt_tokens": None, "completion_tokens": 30, "total_tokens": 400}, (370, 0, 30)),
    ("databricks", {"prompt_tokens": 90, "completion_tokens": 9, "cache_read_input_tokens": 50}, (40, 50, 9)),
    ("deepseek", {"prompt_tokens": 90, "completion_tokens": 9, "prompt_cache_hit_tokens": 50}, (40, 50, 9)),
    ("acme", {"prompt_tokens": 90.0, "completion_tokens": 9}, (90, 0, 9)),
]


@pytest.mark.parametrize(("provider", "usage", "expected"), CHATS)
def test_what_others_make_of_chat_completions(provider, usage, expected):
    """
    Reasoning is beside the completion where the total says so, or only thus it can be; caches are in the prompt.
    """
    reasoning = usage.get("reasoning")
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning}} if reasoning else {}
    found = read({"model": "m", "usage": {**usage, **details}}, provider)

    assert (found.input, found.cache_read, found.output, found.is_doubtful) == (*expected, False)


def test_reasoning_is_in_the_completion_though_a_search_is_told():
    """
    That an answer searched the web says nothing of where its reasoning stands, which the total does.
    """
    usage = {"prompt_tokens": 100, "completion_tokens": 80, "total_tokens": 180}
    details = {"completion_tokens_details": {"reasoning_tokens": 50}}
    found = read({"usage": {**usage, **details, "server_tool_use": {"web_search_requests": 2}}})

    assert found == Usage(input=100, output=80, reasoning=50, web_searches=2)


@pytest.mark.parametrize("taken", [400, 500, 501, 600])
@pytest.mark.parametrize(("ins", "outs"), [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")])
def test_caches_stand_beside_the_input_where_the_total_says_so(ins, outs, taken):
    """
    Whether the caches are larger than the input or not, they are no output.
    """
    details = {f"{ins}_details": {"cached_tokens": 500}}
    found = read({"usage": {ins: taken, outs: 80, "total_tokens": taken + 580, **details}})

    assert found == Usage(input=taken, cache_read=500, output=80)


def test_reasoning_beside_the_completion_is_not_taken_for_caches_of_its_size():
    """
    What the total has above both is the reasoning, where caches in the prompt are as many.
    """
    usage = {"prompt_tokens": 600, "completion_tokens": 80, "total_tokens": 1180}
    ins, outs = {"cached_tokens": 500}, {"reasoning_tokens": 500}
    found = read({"usage": {**usage, "prompt_tokens_details": ins, "completion_tokens_details": outs}})

    assert found == Usage(input=100, cache_read=500, output=580, reasoning=500)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 6}},
            Usage(input=5, output=2, is_doubtful=True),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"audio_tokens": 6}},
            Usage(input=5, output=2, audio_input=0, is_doubtful=True),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": "many"}},
            Usage(input=5, output=2, is_doubtful=True),
        ),
        ({"prompt_tokens": 5, "completion_tokens": None}, Usage(input=5, is_doubtful=True)),
        ({"prompt_tokens": None, "completion_tokens": 5}, Usage(output=5, is_doubtful=True)),
        (
            {"input_tokens": 9, "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 50}},
            Usage(input=9, output=20, reasoning=20, is_doubtful=True),
        ),
        ({"input_tokens": None, "output_tokens": 5}, Usage(output=5, is_doubtful=True)),
        (
            {"input_tokens": None, "cache_read_input_tokens": 7, "output_tokens": 5},
            Usage(cache_read=7, output=5, is_doubtful=True),
        ),
        ({"input_tokens": 5, "output_tokens": None}, Usage(input=5, is_doubtful=True)),
        (
            {"input_tokens": 5, "cache_read_input_tokens": 7},
            Usage(input=5, cache_read=7, is_doubtful=True),
        ),
        ({"input_tokens": 5, "output_tokens": None, "total_tokens": 9}, Usage(input=5, output=4)),
        ({"inputTokens": None, "outputTokens": 5}, Usage(output=5, is_doubtful=True)),
        ({"inputTokens": 5, "outputTokens": None}, Usage(input=5, is_doubtful=True)),
        ({"seconds": 9, "input_tokens": "many"}, Usage(audio_seconds=9, is_doubtful=True)),
        ({"seconds": 9, "input_token_details": {"audio_tokens": 4}}, Usage(audio_seconds=9, is_doubtful=True)),
        ({"input_tokens": 5, "output_tokens": 2, "seconds": -1}, Usage(input=5, output=2, is_doubtful=True)),
        ({"input_tokens": 5, "output_tokens": 2, "seconds": 1e12}, Usage(input=5, output=2, is_doubtful=True)),
        ({"input_tokens": 5, "output_tokens": 2, "iterations": "none"}, Usage(input=5, output=2)),
        (
            {"input_tokens": 5, "output_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 3}},
            Usage(input=5, output=2, is_doubtful=True),
        ),
    ],
)
def test_one_odd_detail_discards_nothing_else(usage, expected):
    """
    What can be right of a reply stays, and says that it is doubtful.
    """
    assert read({"usage": usage}) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"x_groq": {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}}, Usage(input=7, output=2)),
        ({"choices": [{"usage": {"prompt_tokens": 7, "completion_tokens": 2}}]}, Usage(input=7, output=2)),
        ({"result": {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}}, Usage(input=7, output=2)),
        ({"metadata": {"usage": {"inputTokens": 7, "outputTokens": 2}}}, Usage(input=7, output=2)),
        (
            {"usage": {"inputTokens": 7, "outputTokens": 2, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 4}},
            Usage(input=7, output=2, cache_read=3, cache_write=4),
        ),
        (
            {
                "modelVersion": "gemini",
                "usageMetadata": {
                    **{"promptTokenCount": 20, "candidatesTokenCount": 9, "thoughtsTokenCount": 5},
                    **{"cachedContentTokenCount": 8, "toolUsePromptTokenCount": 2, "totalTokenCount": 36},
                },
            },
            Usage(input=14, cache_read=8, output=14, reasoning=5, model="gemini"),
        ),
        (
            {"usage": {"billed_units": {"input_tokens": 7, "output_tokens": 2}, "tokens": {"input_tokens": 9}}},
            Usage(input=7, output=2),
        ),
        (
            {
                "usage": {
                    **{"input_tokens": 9, "output_tokens": 2, "total_tokens": 11},
                    "input_token_details": {"audio_tokens": 8, "text_tokens": 1},
                }
            },
            Usage(input=9, output=2, audio_input=8),
        ),
    ],
    ids=["groq", "choice", "cloudflare", "converse stream", "converse", "gemini", "cohere", "transcription"],
)
def test_usage_is_read_from_where_few_put_it(reply, expected):
    """
    Usage of other forms, and in other places, is read into the same kinds.
    """
    assert read(reply) == expected


def test_models_that_declined_before_a_fallback_are_parts():
    """
    A model that declined after some output is billed beside the one that answered; before any output, it is not.
    """
    declined = {"type": "message", "model": "claude-proud", **STEP}
    silent = {"type": "message", "model": "claude-shy", **STEP, "output_tokens": 0}
    steps = [declined, silent, {"type": "fallback_message", "model": "claude", **STEP}]
    usage = read({"model": "claude", "usage": {**STEP, "iterations": steps}})

    assert [(part.model, part.tokens()) for part in usage.parts] == [("claude-proud", (3, 2, 1, 4))]


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({"cost": 0.0245}, 0.0245),
        ({"cost": 0}, 0.0),
        ({"cost": {"total_cost": 0.5, "currency": "USD"}}, 0.5),
        ({"cost": {"total_cost": 0.5, "currency": "EUR"}}, None),
        ({"cost_in_usd_ticks": 232_856_000}, 0.0232856),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, 0.021),
        ({"cost": 0.001, "is_byok": True}, None),
        *(({"cost": odd}, None) for odd in (-1, "much", True, float("nan"), [1])),
    ],
)
def test_a_told_cost_is_read(usage, usd):
    """
    What a gateway says that it billed is taken, in its unit, and where it is all of the bill.
    """
    found = read({"usage": {"prompt_tokens": 7, "completion_tokens": 2, **usage}})

    assert found.reported_usd == (None if usd is None else pytest.approx(usd))


def test_tools_of_a_response_are_counted():
    """
    Searches of the web and of files, containers and a drawn picture are in no token, and are billed.
    """
    found = read(
        {
            "tools": [{"type": "image_generation", "model": "gpt-image-1.5"}],
            "tool_usage": {"image_gen": {"input_tokens": 5, "output_tokens": 9, "total_tokens": 14}},
            "output": [
                {"type": "web_search_call", "action": {"type": "search"}},
                {"type": "web_search_call", "action": {"type": "open_page"}},
                {"type": "file_search_call"},
                *[{"type": "code_interpreter_call", "container_id": "c"}] * 2,
            ],
            "usage": {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9},
        }
    )

    assert (found.web_searches, found.file_searches, found.containers) == (1, 1, 1)
    assert found.parts == (Usage(input=5, output=9, model="gpt-image-1.5"),)


def test_a_name_that_usage_does_not_have_is_refused():
    """
    What few replies have is given by its name, and a wrong one is an error that lists them.
    """
    with pytest.raises(TypeError, match=r"no 'web_serches'; it has audio_input, .*web_searches"):
        Usage(web_serches=1)


@pytest.mark.parametrize(
    ("traffic", "tier"),
    [
        ("ON_DEMAND", None),
        ("TRAFFIC_TYPE_UNSPECIFIED", None),
        ("ON_DEMAND_FLEX", "flex"),
        ("ON_DEMAND_PRIORITY", "priority"),
        ("PROVISIONED_THROUGHPUT", "provisioned"),
    ],
)
def test_traffic_that_is_not_everybodys_has_a_tier(traffic, tier):
    """
    Vertex AI names the tier by the traffic, whose prices are others.
    """
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "trafficType": traffic}

    assert read({"usageMetadata": usage}) == Usage(input=5, output=2, tier=tier)


def test_messages_of_a_conversation_by_voice_need_no_seconds():
    """
    Messages are billed each, whether or not seconds are told.
    """
    assert read({"usage": {"input_tokens": 5, "output_tokens": 2, "input_text_messages": 3}}) == Usage(
        input=5, output=2, messages=3
    )


@pytest.mark.parametrize("name", ["cachedContentTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount"])
def test_an_odd_detail_of_geminis_discards_nothing_else(name):
    """
    What is no count beside the prompt and its answer makes an estimate of them.
    """
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, name: "many"}

    assert read({"usageMetadata": usage}) == Usage(input=5, output=2, is_doubtful=True)


@pytest.mark.parametrize("kind", ["AUDIO", "IMAGE", "VIDEO"])
def test_sound_and_pictures_above_their_whole_make_an_estimate(kind):
    """
    More of a kind than there was at all is none; more of it from a cache than was taken in was taken in.
    """
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 2, "cachedContentTokenCount": 5}
    told = {"modality": kind, "tokenCount": 10}
    some = {"modality": kind, "tokenCount": 4}
    found = [
        read({"usageMetadata": {**usage, "promptTokensDetails": [told]}}),
        read({"usageMetadata": {**usage, "candidatesTokensDetails": [told]}}),
        read({"usageMetadata": {**usage, "cacheTokensDetails": [some]}}),
    ]
    plain = {"input": 4, "cache_read": 5, "output": 2, "is_doubtful": True}
    parts = {f"{kind.lower()}_input": 4, f"{kind.lower()}_read": 4}

    assert found == [Usage(**plain), Usage(**plain), Usage(**plain, **parts)]


def test_what_is_authored_and_not_drawn_is_a_part_of_its_own():
    """
    The tokens of SVG are in no other figure: beside those of a picture, alone, in an item, and in a stream's end.
    """
    authored = {"model": "gpt-6", "input_tokens": 40, "output_tokens": 30, "reasoning_tokens": 9, "total_tokens": 70}
    part = Usage(input=40, output=30, reasoning=9, model="gpt-6")
    drawn = {"input_tokens": 5, "output_tokens": 9, "total_tokens": 14}
    item = {"type": "image_generation_call", "result": "c3Zn", "svg_usage": authored}
    reply = {"model": "gpt-5", "usage": drawn, "output": [item]}
    stream = StreamState()
    accumulate_response(stream, {"type": "response.completed", "response": reply})
    found = [
        read({"usage": drawn, "svg_usage": authored}),
        read({"usage": None, "svg_usage": authored}),
        read(reply),
        read(stream.reply),
        read({"usage": drawn, "svg_usage": {**authored, "output_tokens": "many"}}),
    ]

    whole = {"input": 5, "output": 9, "parts": (part,)}
    assert found[:1] == [Usage(**whole)]
    assert (found[1].tokens(), found[1].model) == (part.tokens(), "gpt-6")
    assert found[2:4] == [Usage(**whole, model="gpt-5")] * 2
    assert found[4] == Usage(input=5, output=9, is_doubtful=True)


def test_pictures_of_a_responses_tool_may_come_from_a_cache():
    """
    What was cached is a part of the tool's input, of pictures as far as its split says so.
    """
    drawn = {"input_tokens": 500, "output_tokens": 90, "input_tokens_details": {"image_tokens": 400}}
    cached = {"cached_tokens": 300, "cached_tokens_details": {"cached_image_tokens": 200, "cached_text_tokens": 100}}
    usage = {"input_tokens": 5, "output_tokens": 9}
    found = read({"usage": usage, "tool_usage": {"image_gen": {**drawn, **cached}}})

    part = Usage(input=200, cache_read=300, output=90, image_input=400, image_read=200, model="image_generation")
    assert found == Usage(input=5, output=9, parts=(part,))


def test_a_hosted_shell_runs_in_a_container_too():
    """
    A container counts once, whoever runs in it; a local shell has none.
    """
    items = [
        {"type": "code_interpreter_call", "container_id": "c1"},
        {"type": "shell_call", "environment": {"type": "container_reference", "container_id": "c1"}},
        {"type": "shell_call", "environment": {"type": "container_reference", "container_id": "c2"}},
        {"type": "shell_call", "environment": {"type": "local"}},
        {"type": "shell_call"},
    ]
    reply = {"usage": {"input_tokens": 5, "output_tokens": 9}, "output": items}
    stream = StreamState()
    accumulate_response(stream, {"type": "response.completed", "response": reply})

    assert [read(reply), read(stream.reply)] == [Usage(input=5, output=9, containers=2)] * 2


@pytest.mark.parametrize(
    ("model", "beside"),
    [
        ("gpt-4o-search-preview", {}),
        ("gpt-5-search-api", {}),
        ("grok-4", {"num_sources_used": 3}),
        ("grok-4", {"num_server_side_tools_used": 2}),
        ("mistral-large", {"connectors": {"web_search": 1}}),
        ("voxtral-small", {"prompt_audio_seconds": 12}),
    ],
)
def test_what_is_billed_beside_tokens_and_has_no_count_or_price_makes_an_estimate(model, beside):
    """
    The tokens are not all that such a call costs.
    """
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    none = dict.fromkeys(beside)

    assert read({"model": model, "usage": {**usage, **beside}}).is_doubtful
    assert not read({"model": "m", "usage": {**usage, **none}}).is_doubtful


@pytest.mark.parametrize("total", ["many", -1, 10**12, 2.5, True])
@pytest.mark.parametrize("names", [("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens")])
def test_a_total_that_is_none_discards_nothing_else(names, total):
    """
    What is told of both sides stands, as an estimate.
    """
    usage = {**dict(zip(names, (5, 2), strict=True)), "total_tokens": total}

    assert read({"usage": usage}) == Usage(input=5, output=2, is_doubtful=True)
