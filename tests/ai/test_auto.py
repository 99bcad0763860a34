"""
Hooks that are asked for before the SDK is imported: nothing is imported for them, and they are there in time.
"""

import json
import subprocess
import sys
import textwrap

import pytest

import obskit
from obskit.errors import MissingExtraError

ASK = {
    "anthropic": """
        import anthropic
        client = anthropic.Anthropic(api_key="none", base_url=URL)
        client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "Which plate?"}])
    """,
    "openai": """
        import openai
        client = openai.OpenAI(api_key="none", base_url=URL + "/v1")
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Which plate?"}])
    """,
}
COUNT = """
    from prometheus_client import REGISTRY
    PAGE = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    CALLS.append(sum(sample.value for sample in PAGE if sample.name == "ai_api_requests_total"))
"""


def run(provider, sdk, *parts):
    """
    Run a program of its own that may ask and count, and give what it counted and printed.
    """
    shown = 'import json\nprint(json.dumps({"calls": CALLS, "imported": IMPORTED}))'
    head = (
        f"import sys\nURL = {provider.url!r}\nCALLS, IMPORTED = [], []\nPRICES = {{'m': {{'input': 2, 'output': 10}}}}"
    )
    # Closed: in which order a collection ends a dropped client and its socket depends on what else was allocated.
    ask = f"{ASK[sdk].rstrip()}\n        client.close()\n"
    told = {"ASK": ask, "COUNT": COUNT, "LOOK": f"IMPORTED.append({sdk!r} in sys.modules)"}
    source = "\n".join(textwrap.dedent(told.get(part, part)) for part in (head, *parts, shown))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=100, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout.splitlines()[-1])


AUTO = "import obskit\nobskit.configure(service='shop', auto=True)"


@pytest.fixture(params=sorted(ASK))
def sdk(request):
    pytest.importorskip(request.param)
    return request.param


def test_auto_hooks_an_sdk_that_is_imported_later(sdk, provider):
    """
    `auto=True` imports no SDK, and counts the calls of one that the application imports afterwards.
    """
    found = run(provider, sdk, AUTO, "LOOK", "ASK", "LOOK", "COUNT")

    assert found == {"calls": [1.0], "imported": [False, True]}


def test_auto_hooks_an_sdk_that_is_there(sdk, provider):
    """
    `auto=True` hooks an SDK that the application has imported before, with its client made.
    """
    made, asked = ASK[sdk].strip("\n").rsplit("\n        ", 1)[0], ASK[sdk].splitlines()[3]
    found = run(provider, sdk, made.rsplit("client.", 1)[0], AUTO, asked, "COUNT")

    assert found["calls"] == [1.0]


def test_undoing_before_the_import_leaves_the_sdk_as_it_is(sdk, provider):
    """
    Hooks that were taken back before the SDK was imported never come; asked for again, they do; undone again, they go.
    """
    undo, redo = f"obskit.uninstrument_{sdk}()", f"obskit.instrument_{sdk}()"
    found = run(provider, sdk, AUTO, undo, "ASK", "COUNT", redo, "ASK", "COUNT", undo, "ASK", "COUNT")

    assert found["calls"] == [0, 1.0, 1.0]


def test_instrumenting_by_name_imports_nothing(sdk, provider):
    """
    `instrument_*()` leaves the import of the SDK, and its second, to the application.
    """
    asked = f"import obskit\nobskit.instrument_{sdk}()\nobskit.instrument_{sdk}()\nobskit.configure(service='shop')"
    found = run(provider, sdk, asked, "LOOK", "ASK", "COUNT")

    assert found == {"calls": [1.0], "imported": [False]}


def test_hooks_that_fail_do_not_break_the_import(sdk, provider):
    """
    What goes wrong while an imported SDK is hooked is counted; the application has its SDK.
    """
    broken = "import obskit.integrations._ai_install as hooks\nhooks._found = lambda *hook: 1 / 0"
    told = f"from obskit.recorder import recorder\nCALLS.append(recorder.errors[{sdk!r}])"
    found = run(provider, sdk, AUTO, broken, "ASK", "COUNT", told)

    assert found["calls"] == [0, 1]


def test_an_sdk_that_is_not_installed_is_named(sdk, monkeypatch):
    """
    Asking for the hooks of an SDK that is not there says what to install.
    """
    monkeypatch.setitem(sys.modules, sdk, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'obskit\[{sdk}\]'"):
        getattr(obskit, f"instrument_{sdk}")()


def test_auto_passes_over_what_is_no_sdk(sdk, provider):
    """
    A stand-in that an application's tests put in the place of the SDK is left alone.
    """
    fake = f"import types\nsys.modules[{sdk!r}] = types.SimpleNamespace()"
    found = run(provider, sdk, fake, AUTO, "COUNT")

    assert found["calls"] == [0]
