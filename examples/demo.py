"""
Show obskit at work: run the FastAPI example, send it traffic, and say what was recorded.

    python examples/demo.py             serves until Ctrl-C
    python examples/demo.py --once      stops by itself
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from model import model

APPLICATION = Path(__file__).parent / "fastapi_app"
CLIENTS = 8
START_SECONDS = 30
# How often of 100, method, path, body.
MIX: list[tuple[int, str, str, dict[str, Any] | None]] = [
    (22, "GET", "/devices", None),
    (22, "GET", "/devices/{device}", None),
    (6, "POST", "/devices/{device}/advice", None),
    (20, "POST", "/devices/1/sales", {"product": "crisps", "quantity": 1}),
    (8, "GET", "/reports/sales.csv", None),
    (6, "GET", "/reports/devices/{device}", None),
    (4, "POST", "/devices/1/sales", {"product": "crisps", "quantity": 20}),
    (4, "POST", "/devices/1/sales", {"product": "crisps", "quantity": 0}),
    (4, "GET", "/boom", None),
    (4, "GET", "/nowhere/{device}", None),
]


class DemoError(Exception):
    pass


@contextmanager
def server(output: Path, model_url: str) -> Iterator[str]:
    """
    Run the example under uvicorn with its lines in `lines.jsonl`, and give its address.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        **os.environ,
        "VENDING_DATABASE": str(output / "vending.db"),
        # No model of the real world is asked, and nothing is paid; the dollars are what it would have cost there.
        "ANTHROPIC_BASE_URL": model_url,
        "ANTHROPIC_API_KEY": "none-is-needed",
    }
    command = [sys.executable, "-m", "uvicorn", "app:app", "--no-access-log", "--port", str(port)]
    with (output / "lines.jsonl").open("wb") as lines, (output / "stderr.txt").open("wb") as stderr:
        # In a session of its own, Ctrl-C reaches this program alone.
        process = subprocess.Popen(
            command, cwd=APPLICATION, env=environ, stdout=lines, stderr=stderr, start_new_session=True
        )
    try:
        wait_for(process, f"http://127.0.0.1:{port}", output / "stderr.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process: subprocess.Popen[bytes], url: str, stderr: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/health/live", timeout=START_SECONDS).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    why = f"did not answer in {START_SECONDS} s" if process.poll() is None else f"ended with {process.returncode}"
    tail = "\n".join(stderr.read_text("utf-8", "replace").splitlines()[-20:])
    raise DemoError(f"The server {why}. Its standard error ends:\n\n{tail}")


async def send_traffic(url: str, seconds: float) -> None:
    """
    Run several clients at once, each with its own fixed choice of requests.
    """
    deadline = time.monotonic() + seconds

    async def client(seed: int) -> None:
        choose = random.Random(seed)
        while time.monotonic() < deadline:
            _, method, path, body = choose.choices(MIX, [share for share, *_ in MIX])[0]
            # uvicorn closes a connection on which the application failed, whatever was promised to the client.
            headers = {"Connection": "close"} if path == "/boom" else None
            await session.request(method, path.format(device=choose.randint(1, 4)), json=body, headers=headers)

    async with httpx.AsyncClient(base_url=url, timeout=30) as session:
        await asyncio.gather(*map(client, range(CLIENTS)))


def access_lines(output: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (output / "lines.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if line["message"] == "request"]


def quantile(sorted_values: list[float], share: float) -> float:
    """
    Return the smallest value that this share of the values does not exceed.
    """
    return sorted_values[math.ceil(share * len(sorted_values)) - 1]


def table(lines: list[dict[str, Any]], ai: dict[str, Any]) -> Iterator[str]:
    """
    Sum the access lines up, one row for each endpoint, with the AI calls that its requests made.
    """
    endpoints = defaultdict(list)
    for line in lines:
        endpoints[line["method"], line["endpoint"]].append(line)
    by_route = {group["name"]: group for group in ai["by_route"]}
    yield (
        f"{'endpoint':34}{'requests':>9}{'p50 ms':>8}{'p95 ms':>8}{'4xx':>6}{'5xx':>6}{'queries':>9}{'a request':>11}"
        f"{'AI calls':>10}{'tokens':>9}{'dollars':>9}"
    )
    for (method, endpoint), group in sorted(endpoints.items(), key=lambda item: -len(item[1])):
        durations = sorted(line["duration_ms"] for line in group)
        p50, p95 = quantile(durations, 0.5), quantile(durations, 0.95)
        classes = Counter(line["status"] // 100 for line in group)
        queries = sum(line.get("db_queries", 0) for line in group)
        calls = by_route.get(endpoint)
        yield (
            f"{method + ' ' + endpoint:34}{len(group):>9,}{p50:>8.1f}{p95:>8.1f}"
            f"{classes[4]:>6}{classes[5]:>6}{queries:>9,}{queries / len(group):>11.1f}"
        ) + ("" if calls is None else f"{calls['calls']:>10,}{tokens(calls):>9,}{dollars(calls['cost_usd']):>9}")


def tokens(calls: dict[str, Any]) -> int:
    return sum(calls["tokens"].values())


def dollars(usd: float | None) -> str:
    return "?" if usd is None else f"${usd:.4f}"


def total(page: str, metric: str) -> int:
    """
    Add up all label sets of a counter on the metrics page.
    """
    return round(sum(float(row.rpartition(" ")[2]) for row in page.splitlines() if row.startswith(f"{metric}{{")))


def spent(ai: dict[str, Any]) -> Iterator[str]:
    """
    Return what the AI calls took and cost, by the application's own report.
    """
    total, seconds = ai["total"], ai["seconds"] or {"p50": 0.0}
    yield (
        f"{total['calls']:,} AI calls of a local stand-in for a model, at the prices of the real one: "
        f"{tokens(total):,} tokens, {dollars(total['cost_usd'])}."
    )
    yield (
        f"Its cache saved {dollars(ai['cache_savings_usd'])}; half of the calls took {1000 * seconds['p50']:.0f} ms or "
        f"less, with {ai['retries']:,} retries where it was overloaded."
    )


def summary(url: str, output: Path, seconds: float) -> str:
    ai = httpx.get(f"{url}/reports/ai").raise_for_status().json()
    # The page before the lines: what is in its counters then is in the lines too.
    page = httpx.get(f"{url}/metrics").raise_for_status().text
    lines = access_lines(output)
    failed = [line for line in lines if line["status"] >= 500]
    sample = next((line for line in reversed(lines) if "ai_calls" in line), lines[-1])
    return "\n".join(
        [
            f"obskit demo: {APPLICATION.name} under uvicorn, {CLIENTS} clients for {seconds:g} s",
            "",
            f"{len(lines):,} requests, {len(failed):,} failed with a 5xx",
            "",
            *table(lines, ai),
            "",
            *spent(ai),
            "",
            "p50 and p95 are exact: from duration_ms of the JSON lines.",
            f"The metrics page has counted {total(page, 'vending_http_requests_total'):,} requests, "
            f"{total(page, 'vending_database_query_duration_seconds_count'):,} queries and, by the application's own "
            f"counter, {total(page, 'vending_sales_total'):,} products sold.",
            "",
            f"One of the JSON lines in {output / 'lines.jsonl'}:",
            json.dumps(sample, indent=2),
            "",
            f"application  {url}/devices",
            f"metrics      {url}/metrics",
            f"health       {url}/health",
            f"AI report    {url}/reports/ai",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the FastAPI example, send it traffic, say what was recorded.")
    parser.add_argument("--once", action="store_true", help="stop the server and exit after the summary")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long to send traffic (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="where the JSON lines go (default: a new temporary folder)")
    given = parser.parse_args()
    output = (given.output or Path(tempfile.mkdtemp(prefix="obskit-demo-"))).resolve()
    output.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with model() as model_url, server(output, model_url) as url:
            asyncio.run(send_traffic(url, given.seconds))
            print(summary(url, output, given.seconds), flush=True)
            if not given.once:
                print("\nServing until Ctrl-C.", flush=True)
                signal.pause()
    except DemoError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
