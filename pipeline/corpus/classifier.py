"""The stage that learns from examples which documents are good: a classifier whose score is their `quality`.

Off unless examples are named. Whether it helps is a question to the corpus at hand: tests/benchmarks has
`quality`, which compares held-out bits per byte at equal tokens with and without it. The work itself is in
scoring.py.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.clean import Documents
from pipeline.corpus.forgotten import REASON, columns_in, forgotten_in
from pipeline.errors import InputError
from pipeline.shards import files_of
from pipeline.store import Artifact, Attempt, Made, Store

FORMATS = (".parquet", ".jsonl", ".txt", ".md")
Side = Literal["good", "bad"]


class ClassifierConfig(Config):
    """Examples of good and of bad documents, and how much is learned from them."""

    good: tuple[str, ...] = ()
    """Files or folders (.parquet and .jsonl with a column `text`, .txt, .md), or documents of another run:
    `kept:NAME` or `dropped:NAME`, where NAME is such as quickstart/documents. Without any there is no
    classifier."""
    bad: tuple[str, ...] = ()
    """The same, of what is not wanted."""
    examples: int = Field(default=20_000, ge=10)
    """Documents of each side at most; those of smallest hash."""
    features: int = Field(default=262_144, ge=1_024, le=16_777_216)
    """Words and pairs of words are hashed to so many numbers."""
    regularization: float = Field(default=1.0, gt=0)
    """How much weights are held small: the inverse of scikit-learn's C."""

    @model_validator(mode="after")
    def has_both_sides(self) -> Self:
        if bool(self.good) != bool(self.bad):
            there, lacking = ("good", "bad") if self.good else ("bad", "good")
            raise ValueError(
                f"classifier.{there} names examples and classifier.{lacking} names none; a classifier "
                'needs both, such as good = ["kept:first/documents"], bad = ["dropped:first/documents"]'
            )
        return self

    def identity(self) -> dict[str, object]:
        """Examples enter the key by their content, wherever they lie."""
        return {name: value for name, value in super().identity().items() if name not in ("good", "bad")}


class ExamplesError(InputError):
    """The examples that a classifier should learn from are not there, or too few."""

    remedy = "Correct classifier.good or classifier.bad, or what they name."


class Classifier(Artifact):
    """Weights in `model.safetensors`; `figures.json` says how it does on examples that it has not seen."""

    stage, role, revision = "classifier", "classifier", 1


def train_classifier(store: Store, config: ClassifierConfig, compute: Compute) -> Classifier | None:
    """A classifier of good against bad examples; None where no examples are named.

    Raises ExamplesError if some are missing.
    """
    if not config.good:
        return None
    files = {side: example_files(store, getattr(config, side)) for side in ("good", "bad")}
    return store.make(
        Classifier,
        config,
        {},
        partial(_build, files=files, config=config, compute=compute),
        content={side: _content(found) for side, found in files.items()},
        work=lambda: {"bytes": sum(path.stat().st_size for found in files.values() for path in found)},
    )


def example_files(store: Store, names: Sequence[str]) -> tuple[Path, ...]:
    """Local files with the examples, in the order of the names. Raises ExamplesError."""
    found: list[Path] = []
    for name in names:
        side, _, reference = name.partition(":")
        if side in ("kept", "dropped") and reference:
            stage, key = store.target_of(reference) or ("", "")
            documents = Documents(store.storage, key)
            if stage != Documents.stage or not documents.exists():
                raise ExamplesError(f"{name}: the store has no cleaned documents of the name {reference!r}")
            _refuse_forgotten(store, documents, side, name)
            found += documents.paths(f"{side}/")
        else:
            found += _files(Path(name))
    return tuple(found)


def _refuse_forgotten(store: Store, documents: Documents, side: str, name: str) -> None:
    """Raises ExamplesError if there are pages among them that are to be left out since."""
    forgotten = forgotten_in(store.storage)
    columns = ["url", "reason"] if side == "dropped" else ["url"]
    for url, *reason in columns_in(documents, f"{side}/", columns) if forgotten else ():
        if reason != [REASON] and (rule := forgotten.rule_for(url)) is not None:
            raise ExamplesError(
                f"{name}: {documents.base} has {url}, and {rule} is to be left out (`moinho forget`): run "
                "the configuration again that made it, which makes it without"
            )


def _files(path: Path) -> list[Path]:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    found = [each for each in files if each.suffix in FORMATS and each.is_file()]
    if not found:
        raise ExamplesError(f"{path}: no file of examples; there may be {', '.join(FORMATS)}")
    return found


def _content(paths: Sequence[Path]) -> str:
    """One hash over what the files say, in whatever order they are named."""
    hashes = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _build(
    attempt: Attempt, files: Mapping[str, tuple[Path, ...]], config: ClassifierConfig, compute: Compute
) -> Made:
    from pipeline.corpus import scoring
    from pipeline.corpus.tables import local_path

    trained = compute.map_shards(
        attempt, "train", {"all": scoring.Training(files["good"], files["bad"], config)}, scoring.train
    )
    files_made = files_of(trained)
    figures = json.loads(local_path(attempt, files_made["figures.json"]).read_text())
    return Made(
        files=files_made,
        counts=dict(trained[0].counts),
        figures={name: figures[name] for name in ("accuracy", "roc_auc") if name in figures},
    )
