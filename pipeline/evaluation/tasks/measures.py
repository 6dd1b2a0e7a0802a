"""How good each answer is, from 0 to 1, item by item."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from pipeline.evaluation.tasks.items import Item

ARTICLES = {
    "en": {"a", "an", "the"},
    "pt": {"o", "a", "os", "as", "um", "uma", "uns", "umas"},
}
"""Left out where answers are compared, as SQuAD does (Rajpurkar et al., 2016, arXiv:1606.05250)."""
NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")
WORD = re.compile(r"\w+")
PUNCTUATION = re.compile(r"[^\w\s]")

PerItem = dict[str, list[float]]
"""Name of the measure → a number from 0 to 1 for each item."""


def plain_words(text: str, language: str) -> list[str]:
    """Lower case, without punctuation and articles."""
    words = PUNCTUATION.sub(" ", unicodedata.normalize("NFC", text).lower()).split()
    return [word for word in words if word not in ARTICLES[language]]


def token_f1(answer: str, right: str, language: str) -> float:
    """Harmonic mean of precision and recall over words; of nothing against nothing 1."""
    given, wanted = plain_words(answer, language), plain_words(right, language)
    if not given or not wanted:
        return float(given == wanted)
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted))


def answered(items: Sequence[Item], answers: Sequence[str], language: str, abstention: str) -> PerItem:
    """f1 and exact (the best over the right answers), and whether it was right to answer or to abstain.

    Where a passage has no answer, only abstaining is right, and counts 1 (SQuAD 2.0, Rajpurkar
    et al., 2018, arXiv:1806.03822).
    """
    found: PerItem = {"f1": [], "exact": [], "abstention": []}
    for item, answer in zip(items, answers, strict=True):
        abstains = plain_words(abstention, language) == plain_words(answer, language)
        unanswerable = not item.row["answers"]
        if abstains or unanswerable:
            f1 = exact = float(abstains and unanswerable)
        else:
            f1 = max(token_f1(answer, right, language) for right in item.answers)
            given = plain_words(answer, language)
            exact = float(any(given == plain_words(right, language) for right in item.answers))
        found["f1"].append(f1)
        found["exact"].append(exact)
        found["abstention"].append(float(abstains == unanswerable))
    return found


def chosen(items: Sequence[Item], answers: Sequence[str]) -> PerItem:
    """accuracy: is it the right choice?"""
    return {
        "accuracy": [float(answer == item.answers[0]) for item, answer in zip(items, answers, strict=True)]
    }


class _Words:
    """rouge_score's own tokenizer knows no letters beyond a to z."""

    def tokenize(self, text: str) -> list[str]:
        return WORD.findall(unicodedata.normalize("NFC", text).lower())


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Words())


def summarized(items: Sequence[Item], answers: Sequence[str]) -> PerItem:
    """rouge1, rouge2 and rougeL, F1 without stemming (Lin, 2004)."""
    found: PerItem = {"rougeL": [], "rouge1": [], "rouge2": []}
    for item, answer in zip(items, answers, strict=True):
        scores = _rouge().score(item.answers[0], answer)
        for name, values in found.items():
            values.append(float(scores[name].fmeasure))
    return found


@cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def translated(items: Sequence[Item], answers: Sequence[str]) -> PerItem:
    """chrF2 of each sentence (Popović, 2015), as sacrebleu reckons it, divided by 100."""
    return {
        "chrf": [
            min(1.0, float(_chrf().sentence_score(answer, list(item.answers)).score) / 100)
            for item, answer in zip(items, answers, strict=True)
        ]
    }


def reckoned(items: Sequence[Item], answers: Sequence[str]) -> PerItem:
    """accuracy: is the last number of the answer the right one? number: is there a number at all?"""
    numbers = [NUMBER.findall(answer) for answer in answers]
    return {
        "accuracy": [
            float(bool(found) and float(found[-1].replace(",", ".")) == float(item.answers[0]))
            for item, found in zip(items, numbers, strict=True)
        ],
        "number": [float(bool(found)) for found in numbers],
    }
