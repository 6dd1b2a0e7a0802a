"""Memorization: does a model, given some words of its training text, go on with what stood there?

As in Carlini et al. (2022, arXiv:2202.07646): a stretch of training text is extracted if the greedy
continuation of its first tokens equals the rest, token for token. The same is asked of held-out text, and
it is counted how often each stretch stands in the training tokens, since what is repeated is learned by
heart first.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation import estimates
from pipeline.evaluation.assess import KEY_TOKENS
from pipeline.evaluation.likelihood import token_nats
from pipeline.evaluation.words import draw_number
from pipeline.models.generation import answer_greedily
from pipeline.tokens.rows import open_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = NDArray[np.int64]

LOOKED_AT = 200_000
"""Documents that stretches are drawn from, at most."""
TOKENS_AT_ONCE = 4_000_000
"""Of a token file, searched at once."""
FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""An odd number: products with it modulo 2**64 keep what they were made of apart."""
CLASSES = {"once": (1, 1), "2 to 9 times": (2, 9), "10 times or more": (10, 1 << 62)}
"""How often a stretch stands in the training tokens."""


def draw_stretches(shards: Iterable[tuple[Path, Path]], count: int, length: int, seed: int) -> list[Ids]:
    """`count` stretches of `length` ids, each within another document, drawn by a hash of seed and document.

    `shards` are token files with their document indexes. <s> and </s> are never part of a stretch;
    documents that are too short give none.
    """
    drawn: dict[int, Ids] = {}
    looked_at = 0
    for tokens_path, documents_path in sorted(shards, key=lambda shard: draw_number(seed, shard[0].name)):
        if looked_at >= LOOKED_AT:
            break
        tokens = open_tokens(tokens_path)
        for document, start, end in _documents(documents_path, len(tokens)):
            looked_at += 1
            room = end - start - 2 - length
            if room >= 0:
                ticket = draw_number(seed, document)
                first = start + 1 + ticket % (room + 1)
                drawn[ticket] = np.asarray(tokens[first : first + length], np.int64)
    return [drawn[ticket] for ticket in sorted(drawn)[:count]]


def _documents(path: Path, tokens: int) -> list[tuple[str, int, int]]:
    """Id, first token and the one after the last, of every document of a shard."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["id", "offset"])
    offsets = table["offset"].to_pylist()
    return list(zip(table["id"].to_pylist(), offsets, [*offsets[1:], tokens], strict=True))


def occurrences(stretches: Sequence[Ids], shards: Iterable[Path]) -> list[int]:
    """How often each stretch stands in the token files."""
    counts = [0] * len(stretches)
    if not stretches:
        return counts
    length = len(stretches[0])
    wanted: dict[int, list[int]] = {}
    for number, stretch in enumerate(stretches):
        wanted.setdefault(int(_keys(stretch[:KEY_TOKENS])[0]), []).append(number)
    sought = np.array(sorted(wanted), np.uint64)
    for path in shards:
        tokens = open_tokens(path)
        for start in range(0, len(tokens), TOKENS_AT_ONCE):
            part = tokens[start : start + TOKENS_AT_ONCE + length - 1]
            for place in np.flatnonzero(np.isin(_keys(part)[:TOKENS_AT_ONCE], sought)).tolist():
                here = np.asarray(part[place : place + length], np.int64)
                for number in wanted[int(_keys(here[:KEY_TOKENS])[0])]:
                    counts[number] += bool(np.array_equal(here, stretches[number]))
    return counts


def _keys(tokens: NDArray[Any]) -> NDArray[np.uint64]:
    """A number for every place: a hash of the KEY_TOKENS tokens from there on."""
    places = max(0, len(tokens) - KEY_TOKENS + 1)
    keys = np.zeros(places, np.uint64)
    for step in range(KEY_TOKENS):
        keys = keys * FACTOR + tokens[step : step + places].astype(np.uint64) + np.uint64(1)
    return keys


def matched_tokens(model: "PreTrainedModel", stretches: Sequence[Ids], prefix: int) -> list[int]:
    """Of each stretch, how many tokens after its first `prefix` the greedy continuation has right at once."""
    if not stretches:
        return []
    asked = len(stretches[0]) - prefix
    prompts = [stretch[:prefix].tolist() for stretch in stretches]
    written = answer_greedily(model, prompts, max_tokens=asked, stop=())
    return [
        next((at for at, (one, other) in enumerate(zip(ids, true, strict=False)) if one != other), len(ids))
        for ids, true in zip(written, (stretch[prefix:].tolist() for stretch in stretches), strict=True)
    ]


def memorization(
    model: "PreTrainedModel",
    training: Sequence[Ids],
    repeats: Sequence[int],
    held_out: Sequence[Ids],
    prefix: int,
    read: Callable[[Sequence[int]], str],
    examples: int = 3,
) -> dict[str, Any]:
    """How much of the drawn training text the model gives back, beside the same of held-out text.

    `repeats`: occurrences of each training stretch in the training tokens. `read` turns ids to text.
    Stretches are all of one length. Figures are given for training text, their baseline is held-out text.
    Empty if there is no training stretch.
    """
    if not training:
        return {}
    asked = len(training[0]) - prefix
    own, other = matched_tokens(model, training, prefix), matched_tokens(model, held_out, prefix)
    whole = [found == asked for found in own]
    other_share = sum(found == asked for found in other) / len(other) if other else None
    order = sorted(range(len(own)), key=lambda place: -own[place])[:examples]
    return {
        "prefix_tokens": prefix,
        "asked_tokens": asked,
        "extracted_share": estimates.share(sum(whole), len(whole), other_share),
        "matched_tokens": estimates.mean(own, _mean(other)),
        "nats_per_token": estimates.mean(_nats(model, training), _mean(_nats(model, held_out))),
        "by_occurrences": _by_occurrences(whole, repeats),
        "examples": [
            {
                "prefix": read(training[place][:prefix].tolist()),
                "true": read(training[place][prefix:].tolist()),
                "matched_tokens": own[place],
                "occurrences": repeats[place],
            }
            for place in order
        ],
    }


def _by_occurrences(whole: Sequence[bool], repeats: Sequence[int]) -> dict[str, estimates.Estimate]:
    """The share that is extracted, by how often a stretch stands in the training tokens."""
    found = {}
    for name, (least, most) in CLASSES.items():
        own = [hit for hit, count in zip(whole, repeats, strict=True) if least <= count <= most]
        if own:
            found[name] = estimates.share(sum(own), len(own))
    return found


def _nats(model: "PreTrainedModel", stretches: Sequence[Ids]) -> list[float]:
    """Mean nats per token of each stretch."""
    return [sum(nats) / len(nats) for nats in token_nats(model, [each.tolist() for each in stretches])]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
