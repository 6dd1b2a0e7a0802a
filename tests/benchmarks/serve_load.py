"""Clients of the `openai` package that ask a server, each one question after the other, for some seconds.

A process of its own: `python -m tests.benchmarks.serve_load URL MODEL CLIENTS SECONDS TOKENS`, with the key
in MOINHO_API_KEY; it prints one JSON object.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from openai import APIConnectionError, APIStatusError, AsyncOpenAI

MESSAGES: Any = [{"role": "user", "content": "What does the mill grind, and for whom?"}]


@dataclass
class Seen:
    """What all clients of one load saw."""

    seconds: float = 0.0
    """From the first question until the last answer that was begun in time."""
    first: list[float] = field(default_factory=list)
    """Seconds until an answer's first token."""
    whole: list[float] = field(default_factory=list)
    """Seconds until its end."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Answers by status; 0 where the connection failed."""


async def load(url: str, key: str, model: str, clients: int, seconds: float, tokens: int) -> Seen:
    """Whoever is told 429 waits as long as `Retry-After` says."""
    seen, start = Seen(), time.monotonic()
    async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=120) as client:
        await asyncio.gather(*(_ask(client, model, tokens, start + seconds, seen) for _ in range(clients)))
    seen.seconds = time.monotonic() - start
    return seen


async def _ask(client: AsyncOpenAI, model: str, tokens: int, until: float, seen: Seen) -> None:
    while (start := time.monotonic()) < until:
        try:
            answer = await client.chat.completions.create(
                model=model, messages=MESSAGES, max_tokens=tokens, stream=True
            )
            first = None
            async for part in answer:
                if first is None and part.choices and part.choices[0].delta.content:
                    first = time.monotonic() - start
        except APIStatusError as error:
            seen.statuses[str(error.status_code)] += 1
            await asyncio.sleep(float(error.response.headers.get("retry-after", 1)))
        except APIConnectionError:
            seen.statuses["0"] += 1
            await asyncio.sleep(1)
        else:
            whole = time.monotonic() - start
            seen.first.append(whole if first is None else first)
            seen.whole.append(whole)
            seen.statuses["200"] += 1


if __name__ == "__main__":
    url, model, clients, seconds, tokens = sys.argv[1:]
    key = os.environ["MOINHO_API_KEY"]
    found = asyncio.run(load(url, key, model, int(clients), float(seconds), int(tokens)))
    sys.stdout.write(json.dumps(vars(found)) + "\n")
