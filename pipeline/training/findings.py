"""What a sweep tells: the best settings, the best learning rate by depth, the law of loss against compute."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.training import scaling_law
from pipeline.training.pretrain_config import PretrainConfig

RATE, RATE_FACTOR, SEED = "learning_rate", "learning_rate_factor", "seed"
EXTRAPOLATED = (10.0, 100.0)
"""How many times the largest compute that was tried."""
Row = Mapping[str, Any]
"""A trial in sweep.json."""


def findings(trials: Sequence[Row], config: PretrainConfig) -> dict[str, Any]:
    """`best`, `rates` (by what differs beside learning rate and seed), `transfer`, `law`, `settings`.

    Trials whose loss became infinite take part in nothing. All is None or empty where too few are left.
    """
    good = [trial for trial in trials if trial["bits_per_byte"] is not None]
    rates = _rates(good)
    best = min(good, key=lambda trial: float(trial["bits_per_byte"]), default=None)
    return {
        "best": best and dict(best),
        "rates": rates,
        "transfer": _transfer(rates),
        "law": _law(good),
        "settings": _settings(best, rates, config),
    }


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Those of the record."""
    told: dict[str, float] = {}
    if found["best"]:
        told["best_bits_per_byte"] = float(found["best"]["bits_per_byte"])
    if found["law"]:
        told |= {name: float(found["law"][name]) for name in ("exponent", "floor")}
    factors = [each["factor"] for each in found["transfer"]]
    if factors:
        told["rate_transfer_factor"] = max(factors)
    return told


def _rates(trials: Sequence[Row]) -> list[dict[str, Any]]:
    """Of trials that differ in learning rate and seed alone: mean bits per byte by rate, the best rate."""
    groups: dict[str, list[Row]] = {}
    for trial in trials:
        other = {
            name: value for name, value in trial["point"].items() if name not in (RATE, RATE_FACTOR, SEED)
        }
        groups.setdefault(json.dumps(other), []).append(trial)
    found = []
    for shared, members in groups.items():
        bits: dict[float, list[float]] = {}
        for trial in members:
            bits.setdefault(float(trial[RATE]), []).append(float(trial["bits_per_byte"]))
        means = {rate: statistics.mean(bits[rate]) for rate in sorted(bits)}
        best = scaling_law.best_rate(means)
        found.append(
            {
                "shared": json.loads(shared),
                "depth": members[0]["depth"],
                "derived_rate": members[0]["derived_rate"],
                "bits_per_byte": [[rate, mean] for rate, mean in means.items()],
                "best_rate": best.learning_rate,
                "inside": best.inside,
            }
        )
    return found


def _transfer(rates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For every two groups that differ in depth alone: what the dial's rule makes of the smaller one's best
    learning rate, against the best one found. Only where both lie inside what was tried."""
    found = []
    for small in rates:
        for large in rates:
            same = _without_depth(small) == _without_depth(large)
            if not (same and small["depth"] < large["depth"] and small["inside"] and large["inside"]):
                continue
            foretold = small["best_rate"] * large["derived_rate"] / small["derived_rate"]
            ratio = large["best_rate"] / foretold
            found.append(
                {
                    "from_depth": small["depth"],
                    "to_depth": large["depth"],
                    "foretold": foretold,
                    "found": large["best_rate"],
                    "factor": max(ratio, 1 / ratio),
                }
            )
    return found


def _without_depth(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group["shared"].items() if name != "depth"}


def _law(trials: Sequence[Row]) -> dict[str, Any] | None:
    """The law of the lower envelope, what it foretells, and how far that is known: the lowest and the highest
    loss that the laws without one of the points foretell."""
    points = scaling_law.envelope([(trial["flops"], trial["bits_per_byte"]) for trial in trials])
    law = scaling_law.fit(points)
    if law is None:
        return None
    others = scaling_law.without_each(points)
    foretold = []
    for times in EXTRAPOLATED:
        flops = times * points[-1][0]
        all_told = [law.loss(flops), *(other.loss(flops) for other in others)]
        foretold.append(
            {"flops": flops, "bits_per_byte": all_told[0], "low": min(all_told), "high": max(all_told)}
        )
    return {
        **asdict(law),
        "formula": law.formula(),
        "envelope": points,
        "foretold": foretold,
        "others": [asdict(other) for other in others],
    }


def _settings(best: Row | None, rates: Sequence[Mapping[str, Any]], config: PretrainConfig) -> dict[str, Any]:
    """What to set in [pretrain]: the best trial's other axes, and the learning rate for the depth that the
    configuration has, from the nearest depth that was tried by the dial's rule."""
    if best is None:
        return {}
    found = {n: v for n, v in best["point"].items() if n not in (RATE, RATE_FACTOR, SEED, "depth")}
    near = [group for group in rates if _without_depth(group) == found]
    if near and any(len(group["bits_per_byte"]) > 1 for group in near):
        group = min(near, key=lambda group: abs(group["depth"] - config.depth))
        settings = {**config.model_dump(), **found, "depth": config.depth, RATE: None}
        derived = PretrainConfig.model_validate(settings).derived()[RATE]
        found[RATE] = float(f"{group['best_rate'] * derived / group['derived_rate']:.2g}")
    return found
