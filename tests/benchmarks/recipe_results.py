"""Trials that are run once: what was found stands in a file, and a second run goes on from there."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.training.worker import Data
from tests.benchmarks.measure import note
from tests.benchmarks.recipe_runs import Outcome, Trial, tried

FACTOR = 2.0
"""Between neighbouring learning rates."""
EXTENSIONS = 3
"""So often the grid of learning rates grows, while the best is at its end."""


@dataclass
class Results:
    """Trials and what they came to, in a file of one JSON object a line."""

    path: Path
    data: Data

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        read = [json.loads(line) for line in lines]
        self.known = {each["trial"]: Outcome(**each["outcome"]) for each in read}

    def of(self, trial: Trial, name: str) -> Outcome:
        """Run the trial, unless it was run before."""
        key = json.dumps(dataclasses.asdict(trial), sort_keys=True)
        if key not in self.known:
            found = self.known[key] = tried(trial, self.data)
            line = {"name": name, "trial": key, "outcome": dataclasses.asdict(found)}
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            note(
                f"{name}, depth {trial.depth}, rate {trial.learning_rate:g}, seed {trial.seed}: "
                f"{found.bits_per_byte:.4f} bits per byte, {found.steps} steps, {found.seconds:.0f} s"
            )
        return self.known[key]

    def best_rate(self, trial: Trial, name: str) -> float:
        """The learning rate with the fewest bits per byte, on a grid around the trial's own; where the best
        is at an end of the grid, it grows."""
        rates = [trial.learning_rate / FACTOR, trial.learning_rate, trial.learning_rate * FACTOR]
        for _ in range(EXTENSIONS + 1):
            bits = [
                self.of(dataclasses.replace(trial, learning_rate=rate), name).bits_per_byte for rate in rates
            ]
            best = bits.index(min(bits))
            if best == 0:
                rates.insert(0, rates[0] / FACTOR)
            elif best == len(rates) - 1:
                rates.append(rates[-1] * FACTOR)
            else:
                break
        return rates[best]
