"""What each figure of an artifact means, and which of them a run's summary shows."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.evaluation.assess import Assessment
from pipeline.evaluation.compare import Comparison
from pipeline.store import Record
from pipeline.tokens.comparison import TOLD

MEANINGS: dict[str, dict[str, str]] = {
    "vocabulary": {
        "bytes_per_token": "UTF-8 bytes of the text that it was learned from, for each token",
    },
    "classifier": {
        "accuracy": "share of the held-out examples that it puts on their side (good from .5 on)",
        "roc_auc": "how often it gives a good held-out example more than a bad one",
    },
    "compare-vocabularies": TOLD,
    "tokens": {
        "bytes_per_token": "UTF-8 bytes of the training text, for each token",
        "row_filling": "share of the training rows' places that hold a token; the rest is padding",
    },
    "pretrain": {
        "held_out_loss": "nats the model needs for a held-out token after the last step; fewer are better",
        "held_out_bits_per_byte": "the same as bits for a byte, whatever the vocabulary; fewer are better",
        "held_out_bits_per_byte_before": "the same before the first step, of a model that was gone on from",
        "general_bits_per_byte_before": "bits it needed for a held-out byte of the general text before",
        "general_bits_per_byte": "the same after the last step",
        "general_rise": "by how much the general text's bits rose, as a share; above "
        "pretrain.general.limit the run ends",
        "goodput": "share of the time in steps that counted, of 1, over all restarts",
    },
    "sweep": {
        "best_bits_per_byte": "bits that the best trial needs for a held-out byte; fewer are better",
        "exponent": "how fast what compute can still take away falls with it: the law's exponent",
        "floor": "bits per byte that no compute takes away, as the law has it; 0 where points are too few",
        "rate_transfer_factor": "how far the best learning rate of one depth was from what the rule makes of "
        "that of another, at most; 1 is exact",
    },
    "finetune": {
        "train_loss": "nats for a token of the training conversations' answers, mean of all steps",
        "held_out_loss": "the same of held-out conversations after the last step; fewer are better",
    },
    "evaluate": {
        "base_bits_per_byte": "bits the base model needs for a byte of held-out text; fewer are better",
        "ngram_bits_per_byte": "the same of a model that counts runs of tokens in the training text",
        "xz_bits_per_byte": "the same of the compressor xz -9, for each model row by itself",
        "xz_whole_bits_per_byte": "xz on the held-out text as a whole",
        "xz_primed_bits_per_byte": "xz after it has read the training text",
        "last_word.model_share": "sentences whose last word is among the model's likeliest (top_words)",
        "last_word.unigram_share": "sentences whose last word is among as many commonest words",
        "answers.ended_share": "answers that the chat model ends by itself, of 1",
        "bare_lzma_bits_per_byte": "as xz, without its header and checksum, which weigh on short pieces",
        "last_word.ratio": "model_share divided by unigram_share; there is none if the latter is 0",
        "middle_word.model_share": "as last_word, for a word in the middle of a sentence",
        "middle_word.unigram_share": "as last_word, for a word in the middle of a sentence",
        "middle_word.ratio": "as last_word, for a word in the middle of a sentence",
        "answers.mean_tokens": "tokens of an answer of the chat model",
        "own_answers.own_nats_per_token": "nats the chat model needs for a token of a question's true answer",
        "own_answers.shuffled_nats_per_token": "the same for the answer to another question",
        "own_answers.own_likelier_share": "questions whose own answer is likelier; 0.5 is chance",
        "own_answers.question_helps_share": "answers likelier after their own question; 0.5 is chance",
        "tokenizer.bytes_per_token": "UTF-8 bytes of held-out text for each token; more are better",
        "tokenizer.letters_per_token": "letters of held-out text for each token; more are better",
        "tokenizer.tokens_per_word": "tokens that a word is cut into; 1 would be the best",
        "largest_document_share": "share of held-out text that one document has: if large, it decides",
        "shared_bytes_share": "share of held-out text that is not scored: 13 words in a row of it "
        "stand in training text",
    },
}
"""Stage → figure → meaning. After the name a language may follow: of that language alone."""
SUMMARY = 8
"""Of the evaluation's figures, how many of the first make the summary of a run."""
ON_A_LINE = 2


OF_DOCUMENTS = (RawDocuments.stage, Documents.stage)
"""Stages whose records count as pages what may be rows or files as well."""


@dataclass(frozen=True)
class Figure:
    """A figure of an artifact."""

    name: str
    value: float
    meaning: str
    """Empty if another version measured it."""


def figures(record: Record) -> list[Figure]:
    """All of them: those first that are explained first."""
    order = {name: place for place, name in enumerate(MEANINGS.get(record.stage, {}))}
    found = [Figure(name, value, meaning_of(record.stage, name)) for name, value in record.figures.items()]
    return sorted(found, key=lambda figure: order.get(figure.name, len(order)))


def summary(record: Record) -> list[Figure]:
    """Those that the end of a run shows."""
    shown = list(MEANINGS[record.stage])[:SUMMARY]
    return [figure for figure in figures(record) if figure.name in shown]


def counted_as(stage: str, name: str) -> str:
    """A count of a record in words. What is cleaned are documents: pages of a crawl, files, rows, threads."""
    return "documents" if name == "pages" and stage in OF_DOCUMENTS else name.replace("_", " ")


def counts_in_words(record: Record) -> dict[str, int]:
    """A record's counts on a line: what it took in, what it dropped of that for all reasons, the rest."""
    whole = {counted_as(record.stage, name): n for name, n in record.counts.items() if "." not in name}
    dropped = sum(n for name, n in record.counts.items() if name.startswith("dropped."))
    first = [name for name in ("pages", "documents") if name in whole]
    told = {name: whole.pop(name) for name in first}
    return told | ({"dropped": dropped} if dropped else {}) | whole


def on_a_line(record: Record) -> Mapping[str, float]:
    """The first two, by name."""
    return {figure.name: figure.value for figure in figures(record)[:ON_A_LINE]}


def meaning_of(stage: str, name: str) -> str:
    """Of one figure; empty for one that is not known."""
    if stage in (Assessment.stage, Comparison.stage):
        from pipeline.evaluation.figures import meaning

        return meaning(name)
    known = MEANINGS.get(stage, {})
    general, _, language = name.rpartition(".")
    if name in known:
        return known[name]
    return f"{known[general]} ({language})" if general in known else ""
