"""Learning and giving scores of quality: logistic regression on hashed words and pairs of words.

That is what fastText classifiers for pretraining corpora are (Li et al., 2024, arXiv:2406.11794, found
none better), with scikit-learn's exact solver in place of theirs: the same examples give the same weights.
"""

import hashlib
import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.corpus.classifier import ClassifierConfig, ExamplesError
from pipeline.corpus.tables import read_texts
from pipeline.shards import ShardOutput

HELD_OUT = 10
"""One example in so many is held out, to see how well the rest are learned."""
LEAST_EXAMPLES = 20
"""Of each side."""
TEXT_CHARACTERS = 10_000
"""Of a document, from its beginning: more changes few scores."""

Score = Callable[[str], float]


@dataclass(frozen=True)
class Training:
    """Files of examples that every worker can read."""

    good: tuple[Path, ...]
    bad: tuple[Path, ...]
    config: ClassifierConfig


def train(work: Training, output: ShardOutput) -> dict[str, int]:
    """Write the weights, and what they are worth on the examples that were held out."""
    from safetensors.numpy import save_file
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    sides = {
        "good": choose_examples(work.good, work.config.examples, "good"),
        "bad": choose_examples(work.bad, work.config.examples, "bad"),
    }
    texts = [text for found in sides.values() for text in found]
    labels = np.array([side == "good" for side, found in sides.items() for _ in found])
    held_out = np.array([_hash(text) % HELD_OUT == 0 for text in texts])
    matrix = _vectorizer(work.config.features).transform(texts)
    regression = LogisticRegression(
        C=1 / work.config.regularization, class_weight="balanced", max_iter=1_000, tol=1e-6
    )
    regression.fit(matrix[~held_out], labels[~held_out])
    weights = regression.coef_[0].astype(np.float32)
    bias = np.array([regression.intercept_[0]], np.float32)
    save_file({"weights": weights, "bias": bias}, output.path("model.safetensors"))
    figures: dict[str, Any] = {"features": work.config.features, "held_out": int(held_out.sum())}
    if len(set(labels[held_out])) == 2:
        scores = regression.predict_proba(matrix[held_out])[:, 1]
        figures["accuracy"] = float(((scores >= 0.5) == labels[held_out]).mean())
        figures["roc_auc"] = float(roc_auc_score(labels[held_out], scores))
    output.path("figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    return {side: len(found) for side, found in sides.items()} | {"held-out": int(held_out.sum())}


def scorer(model: Path) -> Score:
    """Text → probability (0 to 1) that it is of the good side."""
    from safetensors.numpy import load_file

    tensors = load_file(model)
    weights, bias = tensors["weights"], float(tensors["bias"][0])
    vectorizer = _vectorizer(len(weights))

    def score(text: str) -> float:
        found = vectorizer.transform([text])
        logit = float(found.data @ weights[found.indices]) + bias
        return round(1 / (1 + math.exp(-logit)), 6)

    return score


def choose_examples(paths: Sequence[Path], most: int, side: str) -> list[str]:
    """The different texts of smallest hash, in that order. Raises ExamplesError if there are too few."""
    chosen = heapq.nsmallest(most, {(_hash(text), text) for text in _texts(paths) if text.strip()})
    if len(chosen) < LEAST_EXAMPLES:
        raise ExamplesError(
            f"classifier.{side} has {len(chosen)} examples with text, and {LEAST_EXAMPLES} are needed"
        )
    return [text for _, text in chosen]


def _texts(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        if path.suffix == ".parquet":
            yield from (text[:TEXT_CHARACTERS] for text in read_texts(path) if text)
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    yield _text_of(line, f"{path}, line {number}")[:TEXT_CHARACTERS]
        else:
            yield path.read_text(encoding="utf-8", errors="replace")[:TEXT_CHARACTERS]


def _text_of(line: str, where: str) -> str:
    try:
        return str(json.loads(line)["text"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExamplesError(f"{where}: no JSON object with a `text`") from error


def _vectorizer(features: int) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        n_features=features,
        ngram_range=(1, 2),
        token_pattern=r"(?u)\w+|[^\w\s]",
        preprocessor=_beginning,
        alternate_sign=False,
        norm="l2",
        dtype=np.float32,
    )


def _beginning(text: str) -> str:
    return text[:TEXT_CHARACTERS].lower()


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
