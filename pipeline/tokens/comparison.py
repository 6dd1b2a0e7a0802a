"""The stage that compares kinds of vocabulary: each learned from the same sample, tried on held-out text."""

import json
from functools import partial
from typing import Any

from pydantic import Field

from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import StageError
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tokens.vocabulary import Kind, VocabularyConfig

REPORT, FIGURES = "report.html", "comparison.json"
TAKEN_OVER = "taken over"
"""What the tokenizer of `vocabulary.tokenizer` is called beside the kinds that are learned."""
TOLD = {
    "bytes_per_token": "UTF-8 bytes of held-out text for each token; more are better",
    "letters_per_token": "letters of held-out text for each token; more are better",
    "words_per_token": "words of held-out text for each token; more are better",
    "round_trip": "share of held-out documents that come back exactly",
    "kept_pieces": "share of a word's tokens that are still there when it is misspelt; more are better",
    "misspelt_growth": "tokens of misspelt words, against the same words spelt right; fewer are better",
    "byte_share": "share of the tokens that are single bytes: what the vocabulary has no pieces for",
    "pieces": "entries of the vocabulary, markers and bytes included",
    "used_share": "share of the entries that held-out text uses",
    "learning_seconds": "seconds of learning on this machine",
    "learning_cpu_seconds": "the same, of all its threads",
    "encoding_mb_per_second": "MB of text encoded by a processor in a second, on this machine",
}
"""Figure → what it means, in the order in which they are told."""
BY_LANGUAGE = ("bytes_per_token", "letters_per_token", "words_per_token", "kept_pieces", "misspelt_growth")


class ComparisonConfig(Config):
    """What is compared, and on how much text."""

    vocabulary: VocabularyConfig = VocabularyConfig()
    """All kinds are learned with these settings; a tokenizer that is taken over is tried, too."""
    models: tuple[Kind, ...] = ("bpe", "unigram", "char", "word")
    measured_bytes: int = Field(default=20_000_000, ge=1)
    """About how much held-out text is measured (UTF-8 bytes)."""
    misspelt_share: float = Field(default=0.1, gt=0, le=1)
    """Share of the words of four letters and more that get a spelling mistake."""
    seed: int = 0
    """Which documents are measured, and which words are misspelt how."""

    def identity(self) -> dict[str, Any]:
        """A tokenizer that is taken over is in the key by its content."""
        return super().identity() | {"vocabulary": self.vocabulary.identity()}


class NothingHeldOutError(StageError):
    """There is no held-out text to try vocabularies on."""

    remedy = "Give the flow more pages, or set the share of [hold_out] higher."


class VocabularyComparison(Artifact):
    """`report.html`, and the same figures in `comparison.json`."""

    stage, role, revision = "compare-vocabularies", "vocabulary-comparison", 1

    def figures(self) -> dict[str, dict[str, Any]]:
        """Model → what was measured, by the names of TOLD; `languages` has BY_LANGUAGE of each language."""
        found: dict[str, dict[str, Any]] = json.loads(self.path(FIGURES).read_bytes())
        return found


def compare_vocabularies(store: Store, corpus: Corpus, config: ComparisonConfig) -> VocabularyComparison:
    """Learn each kind from the same sample of the training documents, and try it on held-out ones.

    Times are those of this machine, and are no part of what the artifact is: who makes it again may find
    others. Raises VocabularySizeError, NoTextError and NothingHeldOutError.
    """
    from pipeline.tokens.foreign import content_of

    return store.make(
        VocabularyComparison,
        config,
        {"corpus": corpus},
        partial(_build, corpus=corpus, config=config),
        content=content_of(config.vocabulary),
        work=lambda: {
            "bytes": len(config.models)
            * min(corpus.counts().get("train.bytes", 0), config.vocabulary.sample_bytes)
        },
    )


def _build(attempt: Attempt, corpus: Corpus, config: ComparisonConfig) -> Made:
    from pipeline.tokens import comparison_page, measure

    texts = measure.held_out_texts(corpus, config)
    if not texts:
        raise NothingHeldOutError(
            f"the held-out split of {corpus.base} holds no text; give the flow more pages, or set the share "
            "of [hold_out] higher"
        )
    journal = attempt.journal("comparison")
    found: dict[str, dict[str, Any]] = {}
    for number, model in enumerate(config.models):
        journal.progress(number, len(config.models), "models", learning=model)
        found[model] = measure.measured(corpus, model, texts, config)
    if config.vocabulary.tokenizer is not None:
        found[TAKEN_OVER] = measure.measured_foreign(corpus, texts, config)
    journal.progress(len(found), len(found), "models")
    attempt.path(FIGURES).write_text(json.dumps(found, indent=2) + "\n")
    attempt.path(REPORT).write_text(comparison_page.page(found, config))
    return Made(
        files={name: attempt.publish(attempt.path(name)) for name in (REPORT, FIGURES)},
        counts={
            "models": len(found),
            "documents": sum(map(len, texts.values())),
            "bytes": sum(len(text.encode()) for each in texts.values() for text in each),
        },
        figures={
            f"{name}.{model}": float(value)
            for name in TOLD
            for model, values in found.items()
            if isinstance(value := values[name], int | float)
        },
    )
