"""Answers per second of `moinho serve` to 50 clients, against those to as many as it works on at a time."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.store import Store
from pipeline.tokens.vocabulary import VocabularyConfig, train_vocabulary
from tests.benchmarks.measure import Pair, Result, note
from tests.chat.served import KEY, Serving, serving
from tests.evaluation.stand_ins import publish_model, random_model, write_corpus
from tests.tokens.texts import documentation

AT_ONCE = 8
PIECES = 1024


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="a model to serve; without one a small one with random weights")
    parser.add_argument("--clients", type=int, default=50, help="clients at once")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each load lasts")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of an answer at most")


def run(given: argparse.Namespace) -> Result:
    """A turn is a load of 50 clients after one of as many as are worked on. Raises RuntimeError for every
    answer that is neither 200 nor 429."""
    many, few = [], []
    with tempfile.TemporaryDirectory(prefix="moinho-serve-") as folder:
        model = given.model or _small_model(Path(folder))
        words = ("--at-once", str(AT_ONCE), "--waiting", str(AT_ONCE))
        with serving(model, Path(folder), *words) as served:
            _load(served, 1, 2.0, given.tokens)  # whoever is asked first still imports
            for _ in range(given.pairs):
                few.append(_load(served, AT_ONCE, given.seconds, given.tokens))
                many.append(_load(served, given.clients, given.seconds, given.tokens))
                note(f"{_rate(many[-1]):.1f} answers/s against {_rate(few[-1]):.1f}")
    pairs = [Pair(_rate(ours), _rate(reference)) for ours, reference in zip(many, few, strict=True)]
    statuses = _statuses(many)
    if others := set(statuses) - {"200", "429"}:
        raise RuntimeError(f"answers other than 200 and 429: { {name: statuses[name] for name in others} }")
    latencies = {"many": _latencies(many), "few": _latencies(few)}
    _tell(latencies, statuses)
    figures = {"latency_seconds": latencies, "statuses": dict(statuses), "clients": given.clients}
    return Result("serve", "answers per second", 0.8, pairs, figures)


def _small_model(folder: Path) -> Path:
    store = Store(str(folder / "store"))
    documents = [("en", text) for text in documentation()]
    corpus = write_corpus(store, documents[5:], documents[:5])
    vocabulary = train_vocabulary(store, corpus, VocabularyConfig(pieces=PIECES))
    return publish_model(store, random_model(PIECES, context=256, width=128), vocabulary).model_folder()


def _load(served: Serving, clients: int, seconds: float, tokens: int) -> dict[str, Any]:
    """What the clients saw, in a process of their own."""
    (model,) = served.client().models.list().data
    told = subprocess.run(
        [
            *(sys.executable, "-m", "tests.benchmarks.serve_load", served.url, model.id),
            *(str(clients), str(seconds), str(tokens)),
        ],
        check=True,
        capture_output=True,
        env=os.environ | {"MOINHO_API_KEY": KEY},
    )
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def _rate(seen: dict[str, Any]) -> float:
    return float(len(seen["whole"]) / seen["seconds"])


def _statuses(loads: list[dict[str, Any]]) -> Counter[str]:
    return sum((Counter(seen["statuses"]) for seen in loads), Counter[str]())


def _latencies(loads: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Median, 95 % and 99 % of the answers with 200."""
    return {
        name: np.percentile([each for seen in loads for each in seen[name]], [50, 95, 99]).tolist()
        for name in ("first", "whole")
    }


def _tell(latencies: dict[str, dict[str, list[float]]], statuses: Counter[str]) -> None:
    table = Table("clients", "until", "median", "95 %", "99 %", title="seconds", title_justify="left")
    for clients, parts in latencies.items():
        for part, found in parts.items():
            table.add_row(
                clients, f"{part} token" if part == "first" else "the end", *(f"{x:.3f}" for x in found)
            )
    console = Console()
    console.print(table)
    console.print(f"answers to the many, by status: {dict(statuses)}")
