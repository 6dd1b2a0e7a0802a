"""The measurements, each by itself in a Ray task: a part in, a result for `scores.json` out."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation import answers, words
from pipeline.evaluation import compression as compressors
from pipeline.evaluation.likelihood import nats_of_pieces
from pipeline.evaluation.parts import HELD_OUT, PIECES, Part
from pipeline.models.generation import document_end, encode, stream
from pipeline.models.model import Model
from pipeline.models.next_words import NextWords
from pipeline.models.ngram import NGramModel
from pipeline.tokens.figures import tokenizer_figures
from pipeline.tokens.rows import open_tokens

OPENING_WORDS = 12
EXAMPLES = 12
ALL = "all"

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load(model: Model) -> Loaded:
    """The model in float32, on the GPU if there is one."""
    loaded, tokenizer = model.load(torch.float32)
    return loaded.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer  # type: ignore[arg-type]


def likelihood(part: Part) -> dict[str, dict[str, float]]:
    """Language → nats that the base model needs for these pieces, and their bytes."""
    rows = pq.read_table(part.path(PIECES)).slice(part.first, part.last - part.first).to_pylist()
    model, _ = load(part.inputs.base)
    nats = nats_of_pieces(model, [row["ids"] for row in rows])
    return _add_up(rows, {"nats": nats})


def ngram(part: Part) -> dict[str, dict[str, float]]:
    """Language → nats that the n-gram model of the training tokens needs for all pieces."""
    rows = pq.read_table(part.path(PIECES)).to_pylist()
    vocabulary = part.inputs.vocabulary
    model = NGramModel.fit(_training_tokens(part), vocabulary.pieces, vocabulary.encoder().begin)
    nats = [-float(model.log_probabilities(np.array(row["ids"], np.uint32)).sum()) for row in rows]
    return _add_up(rows, {"nats": nats})


def _training_tokens(part: Part) -> Any:
    """The last `ngram_tokens` of the training split."""
    kept: list[Any] = []
    left = part.inputs.config.ngram_tokens
    for path in reversed(part.inputs.tokens.paths("train/")):
        if path.name.endswith(".tokens.npy") and left > 0:
            kept.append(open_tokens(path)[-left:])
            left -= len(kept[-1])
    return np.concatenate(kept[::-1])


def _add_up(rows: list[dict[str, Any]], values: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Each value and the bytes, over the rows of each language and over all."""
    totals: dict[str, dict[str, float]] = {}
    for at, row in enumerate(rows):
        for group in (ALL, row["language"]):
            total = totals.setdefault(group, {"bytes": 0, **dict.fromkeys(values, 0)})
            total["bytes"] += len(row["text"])
            for name, column in values.items():
                total[name] += column[at]
    return totals


def compression(part: Part) -> dict[str, dict[str, float]]:
    """Language → bytes that xz needs: for each piece, for all at once, and after the training text."""
    rows = pq.read_table(part.path(PIECES), columns=["language", "text"]).to_pylist()
    totals = _add_up(
        rows,
        {
            "xz": [compressors.xz_bytes(row["text"]) for row in rows],
            "bare_lzma": [compressors.bare_lzma_bytes(row["text"]) for row in rows],
        },
    )
    known = compressors.last_bytes(
        (
            text
            for path in part.inputs.corpus.paths("train/")
            for text in pq.read_table(path, columns=["text"])["text"].to_pylist()
        ),
        part.inputs.config.prime_bytes,
    )
    wholes = {
        group: b"".join(row["text"] for row in rows if group in (ALL, row["language"])) for group in totals
    }
    sizes = {
        whole: {"xz_whole": compressors.xz_bytes(whole), "xz_primed": compressors.primed_bytes(known, whole)}
        for whole in set(wholes.values())
    }
    return {group: total | sizes[wholes[group]] for group, total in totals.items()}


def next_words(part: Part) -> dict[str, Any]:
    """For the last word of sentences and for words in their middle: how often the true one is among
    the model's likeliest, and among the commonest words."""
    config = part.inputs.config
    documents = pq.read_table(part.path(HELD_OUT), columns=["id", "language", "text"]).to_pylist()
    texts = [(row["id"], row["language"], row["text"]) for row in documents]
    counts = [json.loads(part.path(name).read_bytes()) for name in part.files if name.endswith(".words.json")]
    common = words.commonest(counts, config.top_words)
    foretell = NextWords(*load(part.inputs.base))
    drawn = {
        place: words.draw_questions(texts, config.sentences, config.seed, place)
        for place in get_args(words.Place)
    }
    places = {
        place: _foretold(questions, foretell, common, config.top_words)
        for place, questions in drawn.items()
        if questions
    }
    return {"top": config.top_words, "commonest": common, "places": places} if places else {}


def _foretold(
    questions: list[words.Question], foretell: NextWords, common: dict[str, list[str]], top: int
) -> dict[str, Any]:
    found = [foretell.after(question.before, top) for question in questions]
    model = words.share_found(questions, [[word for word, _ in answer] for answer in found])
    unigram = words.share_found(questions, [common.get(question.language, []) for question in questions])
    return {
        "sentences": len(questions),
        "model_share": model,
        "unigram_share": unigram,
        "ratio": model / unigram if unigram else None,
        "examples": [
            asdict(question) | {"likeliest": answer[:5]}
            for question, answer in zip(questions[:EXAMPLES], found, strict=False)
        ],
    }


def _exchanges(part: Part) -> list[answers.Exchange]:
    assert part.inputs.conversations is not None
    paths = part.inputs.conversations.paths("held-out/")
    return answers.read_exchanges(paths, part.inputs.config.questions, part.inputs.config.seed)


def answered(part: Part) -> dict[str, Any]:
    """Share of held-out questions whose answer ends by itself, the answers' mean length, and some of them."""
    exchanges = _exchanges(part)
    if not exchanges or part.inputs.chat is None:
        return {}
    limit = part.inputs.config.max_answer_tokens
    found = answers.answers(*load(part.inputs.chat), exchanges, limit)
    return {
        "questions": len(found),
        "max_answer_tokens": limit,
        "ended_share": fmean(answer.ended for answer in found),
        "mean_tokens": fmean(answer.tokens for answer in found),
        "examples": [
            {"question": exchange.question, "answer": answer.text, "expected": exchange.answer}
            for exchange, answer in zip(exchanges, found, strict=True)
        ][: part.inputs.config.sample_questions],
    }


def own_answers(part: Part) -> dict[str, float]:
    """Likelihood of own against shuffled answers, under the chat model."""
    exchanges = _exchanges(part)
    if part.inputs.chat is None:
        return {}
    return answers.own_against_shuffled(*load(part.inputs.chat), exchanges)


def tokenizer(part: Part) -> dict[str, dict[str, float]]:
    """How the vocabulary fits the held-out text, shared passages included, by language."""
    texts: dict[str, list[str]] = {}
    for path in part.inputs.corpus.paths("held-out/"):
        for row in pq.read_table(path, columns=["language", "text"]).to_pylist():
            texts.setdefault(row["language"], []).append(row["text"])
    return tokenizer_figures(part.inputs.vocabulary, texts)


def completions(part: Part) -> list[dict[str, str]]:
    """What the base model makes of the configured prompts and of held-out documents' first words."""
    config = part.inputs.config
    model, pieces = load(part.inputs.base)
    documents = pq.read_table(part.path(HELD_OUT), columns=["id", "text"]).to_pylist()
    documents.sort(key=lambda row: words.draw_number(config.seed, row["id"]))
    openings = [" ".join(row["text"].split(" ")[:OPENING_WORDS]) for row in documents if row["text"]]
    prompts = [*config.prompts, *openings[: config.sample_documents]]
    return [
        {
            "prompt": prompt,
            "completion": "".join(
                stream(
                    model,
                    pieces,
                    encode(pieces, prompt),
                    max_tokens=config.sample_tokens,
                    stop=document_end(pieces),
                    temperature=0.7,
                    top_p=0.9,
                    seed=config.seed,
                )
            ),
        }
        for prompt in prompts
    ]
