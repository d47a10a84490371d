"""Many prompts to a language model: limited, tried again, counted, and never paid for twice.

    python flows/llm_batch.py                                   # on a stub server that it starts
    python flows/llm_batch.py --url http://127.0.0.1:8080 --at-once 16 --items 200

Reviews are classified by a server that speaks the chat-completions protocol. It answers 429 when
asked too fast, with the seconds to wait. Each answer is cached by its prompt and model, so a second
run asks for what is new alone, and a run that was stopped goes on where it was. What was spent is
counted in tokens and money, beside what the cache saved.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

import aiohttp
from aiohttp import web
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect_hypernodes import PrefectCallback, configured_cache

from hypernodes import (
    AsyncExecutor,
    CallbackContext,
    DiskCache,
    FailedItem,
    HyperNodesEngine,
    Pipeline,
    PipelineCallback,
    Retry,
    node,
)

#: Dollars for a million tokens, in and out.
PRICES = {"stub-small": (0.15, 0.60), "stub-large": (2.50, 10.00)}
LABELS = ("positive", "negative")


class Busy(Exception):
    """The server says: not so fast."""


class Client:
    """A server of chat completions.

    Args:
        session: what asks.
        url: its address.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url.rstrip("/")

    def __cache_key__(self) -> str:
        return "chat completions"  # the answer depends on model and prompt, not on who asks

    async def complete(self, model: str, prompt: str) -> dict[str, Any]:
        """The server's answer."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
            if answer.status == 429:
                await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
                raise Busy
            answer.raise_for_status()
            found: dict[str, Any] = await answer.json()
            return found


@node(output_name="prompt")
def write(review: str) -> str:
    """The prompt for a review."""
    return f"Answer with one word, {' or '.join(LABELS)}. How does the writer feel?\n\n{review}"


@node(
    output_name=("text", "tokens"),
    retries=20,
    retry_delay_seconds=0.02,
    retry_jitter_factor=1,
    retry_condition_fn=lambda error: isinstance(error, (Busy, aiohttp.ClientConnectionError)),
    timeout_seconds=60,
)
async def ask(prompt: str, model: str, client: Client) -> tuple[str, tuple[int, int]]:
    """The answer, and the tokens in and out."""
    answer = await client.complete(model, prompt)
    usage = answer["usage"]
    text = answer["choices"][0]["message"]["content"]
    return text, (usage["prompt_tokens"], usage["completion_tokens"])


@node(output_name="label")
def parse(text: str) -> str:
    """The label. An answer that is none is an error: better no item than a wrong one."""
    word = text.strip().strip(".").lower()
    if word not in LABELS:
        raise ValueError(f"expected {' or '.join(LABELS)}, got {text!r:.60}")
    return word


@node(output_name="cost")
def price(tokens: tuple[int, int], model: str) -> float:
    """What the answer cost, in dollars."""
    return sum(count * each / 1e6 for count, each in zip(tokens, PRICES[model], strict=True))


review = Pipeline([write, ask, parse, price], name="review")


class Spent(PipelineCallback):
    """Answers that were asked for, those that the cache had, and how often the server was busy."""

    def __init__(self) -> None:
        self.asked = self.cached = self.busy = 0

    def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
        self.asked += node_id == "ask"

    def on_node_cached(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        self.cached += node_id == "ask"

    def on_node_retry(self, node_id: str, retry: Retry, ctx: CallbackContext) -> None:
        self.busy += 1


@flow(name="llm-batch")
async def llm_batch(
    url: str,
    reviews: list[str],
    model: str = "stub-small",
    at_once: int = 8,
    output: str = "reports",
) -> dict[str, Any]:
    """Classify reviews.

    Args:
        url: a server of chat completions.
        reviews: the texts.
        model: one of those that have a price.
        at_once: requests that are under way at the same time.
        output: the folder for labels and cache.
    """
    if model not in PRICES:
        raise ValueError(f"no price is known for {model!r}: expected one of {', '.join(PRICES)}")
    target, spent = Path(output), Spent()
    target.mkdir(parents=True, exist_ok=True)
    async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as stack:
        requests = AsyncExecutor(max_concurrent=at_once)
        stack.callback(requests.shutdown)
        batch = (
            review.bind(client=Client(session, url), model=model)
            .with_cache(configured_cache() or DiskCache(target / "cache"))
            .with_callbacks([spent, PrefectCallback()])
            .with_engine(HyperNodesEngine(map_executor=requests))
        )
        rows = await batch.amap(
            {"reviews": reviews}, map_over="reviews", error_handling="continue",
            output_name=["label", "cost"],
        )  # fmt: skip
    with (target / "labels.jsonl").open("w", encoding="utf-8") as out:
        for text, row in zip(reviews, rows, strict=True):
            label = None if isinstance(row, FailedItem) else row["label"]
            out.write(json.dumps({"review": text, "label": label}) + "\n")
    good = [row for row in rows if not isinstance(row, FailedItem)]
    worth = sum(row["cost"] for row in good)
    share = spent.asked / max(1, spent.asked + spent.cached)
    told = {"labels": len(good), "failed": len(rows) - len(good), "asked": spent.asked,
            "cached": spent.cached, "busy": spent.busy,
            "spent": round(worth * share, 6), "saved": round(worth * (1 - share), 6)}  # fmt: skip
    made = create_markdown_artifact(
        "\n".join(["| | |", "| --- | ---: |", *(f"| {k} | {v} |" for k, v in told.items())]),
        key="llm-batch", description=model,
    )  # fmt: skip
    if asyncio.iscoroutine(made):
        await made
    return told


# -- A server to try it on -----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def stub_server(per_second: int = 40, busy_every: int = 20) -> AsyncIterator[str]:
    """A server on this machine that answers after 20 ms, and 429 when it has too much to do.

    Args:
        per_second: requests that it takes in a second.
        busy_every: every so many-th prompt is too much when it comes for the first time.
    """
    asked: deque[float] = deque()
    refused: set[str] = set()

    async def complete(request: web.Request) -> web.Response:
        prompt = (await request.json())["messages"][0]["content"]
        now = time.monotonic()
        while asked and asked[0] < now - 1:
            asked.popleft()
        unlucky = sum(prompt.encode()) % busy_every == 0 and prompt not in refused
        if unlucky or len(asked) >= per_second:
            refused.add(prompt)
            return web.json_response({}, status=429, headers={"Retry-After": "0.2"})
        asked.append(now)
        await asyncio.sleep(0.02)
        words = set(prompt.split("\n")[-1].lower().split())
        text = "Unsure." if "maybe" in words else "Negative." if "bad" in words else "Positive."
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": 2}
        message = {"role": "assistant", "content": text}
        return web.json_response({"choices": [{"message": message}], "usage": usage})

    server = web.Application()
    server.add_routes([web.post("/v1/chat/completions", complete)])
    runner = web.AppRunner(server)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def make_reviews(count: int) -> list[str]:
    """Texts to try it on; every fiftieth cannot be decided."""
    words = ["a good film", "a bad film", "fine acting", "bad sound", "worth a second look"]
    kinds = ["maybe a film" if each % 50 == 49 else words[each % 5] for each in range(count)]
    return [f"Number {each}: {kind}" for each, kind in enumerate(kinds)]


async def run(options: argparse.Namespace) -> None:
    """The flow, on the server that was named or on the one to try it on."""
    async with contextlib.AsyncExitStack() as stack:
        url = options.url or await stack.enter_async_context(stub_server())
        reviews = make_reviews(options.items)
        print(await llm_batch(url, reviews, options.model, options.at_once, options.output))


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", help="a server of chat completions (a stub, started here)")
    parser.add_argument("--model", default="stub-small", choices=PRICES, help="which model")
    parser.add_argument("--items", type=int, default=100, help="reviews to classify (100)")
    parser.add_argument("--at-once", type=int, default=8, help="requests at the same time (8)")
    parser.add_argument("--output", default="reports", help="folder for results ('reports')")
    options = parser.parse_args(arguments)
    for name in ("items", "at_once"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1")
    asyncio.run(run(options))


if __name__ == "__main__":
    main(sys.argv[1:])
