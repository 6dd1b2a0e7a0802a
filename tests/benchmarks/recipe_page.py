"""`python -m tests.benchmarks.recipe_page TRIALS…`: tables for docs/recipe.md of what was measured so far."""

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

OURS = "ours"
Group = tuple[int, float]
"""Depth, FLOPs of a training."""
Bits = Mapping[float, Mapping[int, float]]
"""Learning rate → seed → bits per byte."""


def read(paths: list[Path]) -> dict[Group, dict[str, dict[float, dict[int, float]]]]:
    """What the files of `Results` hold: size → entry → learning rate → seed → bits per byte."""
    found: dict[Group, dict[str, dict[float, dict[int, float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    for line in (line for path in paths for line in path.read_text().splitlines()):
        each = json.loads(line)
        trial = json.loads(each["trial"])
        size = trial["depth"], trial["flops"]
        bits = each["outcome"]["bits_per_byte"]
        found[size][each["name"]][trial["learning_rate"]][trial["seed"]] = bits
    return found


def tables(found: Mapping[Group, Mapping[str, Bits]]) -> Iterator[str]:
    """A table for each size that ours was measured at: mean over the seeds, and how much more than ours."""
    for (depth, flops), entries in sorted(found.items()):
        if OURS not in entries:
            continue
        ours = _best(entries[OURS])[1]
        yield f"Depth {depth}, {flops:.1e} FLOP:\n"
        yield "| recipe | learning rate | bits per byte | against ours | spread | seeds |"
        yield "|---|---|---|---|---|---|"
        for name, by_rate in entries.items():
            rate, bits = _best(by_rate)
            shared = sorted(set(bits) & set(ours))
            if not shared:
                continue
            more = [100 * (bits[seed] / ours[seed] - 1) for seed in shared]
            spread = f"{statistics.stdev(more):.2f}" if len(more) > 1 else ""
            yield (
                f"| {name} | {rate:g} | {statistics.mean(bits.values()):.4f} | "
                f"{statistics.mean(more):+.2f} % | {spread} | {len(shared)} |"
            )
        yield ""


def _best(by_rate: Bits) -> tuple[float, Mapping[int, float]]:
    """The rate that was tried with most seeds, and of those the best."""
    most = max(map(len, by_rate.values()))
    tried = {rate: bits for rate, bits in by_rate.items() if len(bits) == most}
    rate = min(tried, key=lambda rate: statistics.mean(tried[rate].values()))
    return rate, tried[rate]


if __name__ == "__main__":
    sys.stdout.write("\n".join(tables(read([Path(word) for word in sys.argv[1:]]))) + "\n")
