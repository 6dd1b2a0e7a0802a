"""Held-out bits per byte of our recipe against a plain one at equal FLOPs, and what each ingredient gives."""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.measure import Pair, Result, note
from tests.benchmarks.recipe_corpus import recipe_data
from tests.benchmarks.recipe_results import Results
from tests.benchmarks.recipe_runs import Ingredients, Trial
from tests.benchmarks.recipe_table import ENTRIES, OURS, PLAIN

FLOPS = 2e12
DEPTH = 2
START_RATE = {"muon": 0.02, "adamw": 0.005}
"""At a width of 128, where the search begins; it falls with the width."""
TARGET = 1 / 0.97


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--flops", type=float, default=FLOPS, help="of each training")
    parser.add_argument("--depth", type=int, default=DEPTH)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--entry", action="append", help=f"beside ours: {'; '.join(ENTRIES)}. Default: all")
    parser.add_argument("--sweep-all", action="store_true", help="a learning rate of its own for every entry")
    parser.add_argument("--folder", type=Path, help="keeps the corpus and all that was measured")


def run(given: argparse.Namespace) -> Result:
    """Ours and the plain recipe each have the learning rate that a sweep by factors of 2 found at seed
    0, or half of it where that is better over all seeds (the best of one seed may stand at the edge of what
    diverges), and are then trained with each seed: same corpus, same FLOPs (those of the updates counted),
    same batches. What differs from ours in one ingredient has our learning rate, but for another optimizer,
    or with --sweep-all. One thread. A turn is a seed; the ratio is plain's bits per byte over ours, so 1.03
    is some 3 % below."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="moinho-recipe-") as folder:
        home = given.folder or Path(folder)
        results = Results(home / "trials.jsonl", recipe_data(home / "corpus"))
        chosen = dict.fromkeys([OURS, PLAIN, *(given.entry or ENTRIES)])
        found: dict[str, list[float]] = {}
        rates: dict[str, float] = {}
        for name in chosen:
            parts = ENTRIES[name]
            swept = given.sweep_all or name in (OURS, PLAIN) or parts.optimizer != ENTRIES[OURS].optimizer
            best = _best_rate(name, parts, given, results) if swept else rates[OURS]
            by_rate = {
                rate: _by_seed(name, parts, rate, given, results)
                for rate in ([best, best / 2] if swept else [best])
            }
            rates[name], found[name] = min(by_rate.items(), key=lambda each: statistics.mean(each[1]))
            note(_line(name, rates[name], found))
        pairs = [Pair(1 / ours, 1 / plain) for ours, plain in zip(found[OURS], found[PLAIN], strict=True)]
        figures: dict[str, Any] = {"depth": given.depth, "flops": given.flops, "bits": found, "rates": rates}
        figures["against_ours"] = {name: list(_against(bits, found[OURS])) for name, bits in found.items()}
        return Result("recipe", "held-out bytes per bit", TARGET, pairs, figures)


def _best_rate(name: str, parts: Ingredients, given: argparse.Namespace, results: Results) -> float:
    start = START_RATE[parts.optimizer] * 2 / given.depth
    return results.best_rate(Trial(parts, given.depth, start, 0, given.flops), name)


def _by_seed(
    name: str, parts: Ingredients, rate: float, given: argparse.Namespace, results: Results
) -> list[float]:
    """Bits per byte."""
    trials = [Trial(parts, given.depth, rate, seed, given.flops) for seed in range(given.seeds)]
    return [results.of(trial, name).bits_per_byte for trial in trials]


def _against(bits: list[float], ours: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over the seeds of how much more it takes than ours, in percent."""
    more = [100 * (other / own - 1) for other, own in zip(bits, ours, strict=True)]
    return statistics.mean(more), statistics.stdev(more) if len(more) > 1 else 0.0


def _line(name: str, rate: float, found: dict[str, list[float]]) -> str:
    mean, spread = _against(found[name], found[OURS])
    bits = statistics.mean(found[name])
    return f"== {name}: rate {rate:g}, {bits:.4f} bits per byte, {mean:+.2f} % ± {spread:.2f}"
