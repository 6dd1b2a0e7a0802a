"""The best learning rate of a model, against what the rule makes of the best of one half as deep."""

import argparse
import dataclasses
import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.training.pretrain_config import PretrainConfig
from tests.benchmarks.measure import Pair, Result, note
from tests.benchmarks.recipe_corpus import PIECES, ROW_TOKENS, recipe_data
from tests.benchmarks.recipe_results import Results
from tests.benchmarks.recipe_runs import Ingredients, Trial, step_flops

TOKENS = 262_144
"""A training's, whatever the depth."""
DEPTHS = (1, 2, 4)
TARGET = 0.5
"""Within a factor of 2."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each training")
    parser.add_argument("--depth", type=int, action="append", help=f"each twice the one before: {DEPTHS}")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keeps the corpus and all that was measured")


def run(given: argparse.Namespace) -> Result:
    """Each depth is trained at learning rates a factor of 2 apart, up and down from what the rule derives,
    until the best is inside the grid; the best is the lowest point of a parabola through it and its
    neighbours, in the logarithm of the rate. A turn is a pair of depths: foretold over found, or the other
    way round where that is below 1."""
    torch.set_num_threads(1)
    depths = given.depth or list(DEPTHS)
    with tempfile.TemporaryDirectory(prefix="moinho-rates-") as folder:
        home = given.folder or Path(folder)
        results = Results(home / "trials.jsonl", recipe_data(home / "corpus"))
        found = {depth: _best(depth, given, results) for depth in depths}
    pairs, told = [], {}
    for half, depth in itertools.pairwise(depths):
        foretold = found[half][0] * _derived(depth) / _derived(half)
        ratio = foretold / found[depth][0]
        pairs.append(Pair(min(ratio, 1 / ratio), 1.0))
        told[f"{half} to {depth}"] = {"foretold": foretold, "found": found[depth][0]}
    figures: dict[str, Any] = {
        "tokens": given.tokens,
        "best": {depth: rate for depth, (rate, _) in found.items()},
        "derived": {depth: _derived(depth) for depth in depths},
        "bits": {depth: bits for depth, (_, bits) in found.items()},
        "foretold": told,
    }
    return Result("rates", "share of the best learning rate", TARGET, pairs, figures)


def _derived(depth: int) -> float:
    return PretrainConfig(depth=depth).recipe().learning_rate


def _best(depth: int, given: argparse.Namespace, results: Results) -> tuple[float, dict[float, float]]:
    """The best rate, and the mean bits per byte at each rate that was tried."""
    ours = Ingredients()
    steps = given.tokens // ours.batch_tokens
    flops = steps * step_flops(ours, depth, 64 * depth, PIECES, ROW_TOKENS)
    trial = Trial(ours, depth, _derived(depth), 0, flops)
    near = results.best_rate(trial, "rates")
    bits = {}
    for rate in (near / 2, near, near * 2):
        each = [dataclasses.replace(trial, learning_rate=rate, seed=seed) for seed in range(given.seeds)]
        bits[rate] = float(np.mean([results.of(one, "rates").bits_per_byte for one in each]))
    rate = lowest(bits)
    note(f"== depth {depth}: best rate {rate:.4g}, derived {_derived(depth):.4g}")
    return rate, bits


def lowest(bits: dict[float, float]) -> float:
    """Where a parabola through three points, in the logarithm of the rate, is lowest; within the points."""
    rates = sorted(bits)
    curve = np.polyfit([math.log(rate) for rate in rates], [bits[rate] for rate in rates], 2)
    place = -curve[1] / (2 * curve[0]) if curve[0] > 0 else math.log(min(bits, key=lambda rate: bits[rate]))
    return float(np.clip(math.exp(place), rates[0], rates[-1]))
