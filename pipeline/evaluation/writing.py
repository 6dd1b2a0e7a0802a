"""How a model writes: does it repeat itself, how varied is it, does it stop, how fast is it?

Words are what stands between spaces, so that the figures do not depend on the vocabulary.
"""

import time
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.evaluation import estimates
from pipeline.evaluation.answers import Answer
from pipeline.evaluation.estimates import Estimate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPEATED_WORDS = 4
"""Length of the n-grams that count as repeated (seq-rep-4; Welleck et al., 2019, arXiv:1908.04319)."""
COMPARED_NGRAMS = 2_000
"""Distinct n-grams are counted among so many: their share falls with the length of the text."""
DISTINCT = (1, 2)


def repetition(text: str, words: int = REPEATED_WORDS) -> float:
    """Of a text's n-grams, the share that stood in it before. 0 for a text that has none."""
    ngrams = _ngrams(text, words)
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def distinct(texts: Sequence[str], words: int) -> float:
    """Different n-grams over all n-grams (Li et al., 2016, arXiv:1510.03055), of the first 2,000 of all
    texts one after another. 0 where there are none."""
    ngrams = list(islice((ngram for text in texts for ngram in _ngrams(text, words)), COMPARED_NGRAMS))
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _ngrams(text: str, words: int) -> list[tuple[str, ...]]:
    found = text.split()
    return [tuple(found[at : at + words]) for at in range(len(found) - words + 1)]


def writing(answers: Sequence[Answer], expected: Sequence[str]) -> dict[str, Estimate]:
    """Figures of the answers; their baselines are those of the answers that were expected."""
    texts = [answer.text for answer in answers]
    found = {
        "repetition": estimates.mean(list(map(repetition, texts)), _mean(list(map(repetition, expected)))),
        "ended_share": estimates.share(sum(answer.ended for answer in answers), len(answers)),
        "tokens": estimates.mean([answer.tokens for answer in answers]),
        "words": estimates.mean(list(map(_words, texts)), _mean(list(map(_words, expected)))),
    }
    return found | {
        f"distinct_{words}": estimates.exactly(
            distinct(texts, words), len(texts), distinct(expected, words) if expected else None
        )
        for words in DISTINCT
    }


def _words(text: str) -> int:
    return len(text.split())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def latency(
    model: "PreTrainedModel", prompts: Sequence[Sequence[int]], max_tokens: int
) -> dict[str, Estimate]:
    """Milliseconds of wall time until the first token, and for each after it: medians over the prompts,
    one at a time, greedy. The first prompt is gone through once beforehand."""
    _timed(model, prompts[0], max_tokens)
    times = [_timed(model, prompt, max_tokens) for prompt in prompts]
    each = [1000 * (one[-1] - one[0]) / (len(one) - 1) for one in times if len(one) > 1]
    found = {"first_token_ms": estimates.median([1000 * one[0] for one in times if one])}
    return found | ({"token_ms": estimates.median(each)} if each else {})


def _timed(model: "PreTrainedModel", prompt: Sequence[int], max_tokens: int) -> list[float]:
    """Seconds from the start until each token."""
    from pipeline.models.generation import Sampler, tokens

    start = time.perf_counter()
    written = tokens(model, prompt, Sampler(), max_tokens=max_tokens, stop=())
    return [time.perf_counter() - start for _ in written]
