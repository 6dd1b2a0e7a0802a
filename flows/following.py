"""One page on its whole way: what was cut from it, a training row with it, and what the model made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

from flows.accounts import Chapter, RunArtifacts, rows_of_url, rows_with, story
from flows.references import KINDS
from flows.tracing import rows_of
from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.hold_out import Corpus
from pipeline.models.model import Model
from pipeline.store import Store
from pipeline.tokens.encode import Tokens
from pipeline.tokens.rows import Origin
from pipeline.training.pretrain import BaseModel, PretrainConfig
from pipeline.training.steps import STEPS, Steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Line:
    """A line of the page's text as it was read."""

    text: str
    is_kept: bool


@dataclass(frozen=True)
class Piece:
    """A token of the page in its row, and how it surprised the model."""

    id: int
    text: str
    nats_before: float
    """Minus the log probability before the training; nothing of it was learned yet."""
    nats_after: float


@dataclass(frozen=True)
class LearnedRow:
    """A training row with a stretch of the page."""

    row: int
    steps: tuple[int, ...]
    """In whose batches it was."""
    first_token: int
    """Of the stretch, counted from the document's beginning."""
    beside: tuple[Origin, ...]
    """Other documents in the row; the model does not see them together."""
    pieces: tuple[Piece, ...]
    """All tokens of the stretch but its first, which nothing comes before."""


@dataclass(frozen=True)
class Followed:
    """A page's way through a run, as far as it went."""

    chapters: tuple[Chapter, ...]
    lines: tuple[Line, ...]
    """Empty of a page that was not read, or not kept."""
    learned: LearnedRow | None
    """None where no row has it, or there is no model yet."""


def follow(store: Store, run: str, url: str) -> Followed:
    """Raises UnknownRunError, NoWebPageError."""
    found = RunArtifacts(store, run)
    chapters = tuple(story(store, run, url))
    return Followed(chapters, tuple(_lines(found, url)), _learned(found, url))


def _lines(found: RunArtifacts, url: str) -> list[Line]:
    """The text that extraction read, and which of its lines cleaning left as they were."""
    raw, documents = found.get(RawDocuments), found.get(Documents)
    before = rows_of_url(raw, "raw/", url) if raw is not None else []
    after = rows_of_url(documents, "kept/", url) if documents is not None else []
    if not before or not after:
        return []
    old, new = before[0]["text"].split("\n"), after[0]["text"].split("\n")
    kept = {
        place
        for match in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
        for place in range(match.a, match.a + match.size)
    }
    return [Line(text, place in kept) for place, text in enumerate(old)]


def _learned(found: RunArtifacts, url: str) -> LearnedRow | None:
    """The row with the longest stretch of the page; of equal ones the first."""
    corpus, tokens, base = found.get(Corpus), found.get(Tokens), found.get(BaseModel)
    if corpus is None or tokens is None or base is None:
        return None
    documents = [row["id"] for row in rows_of_url(corpus, "train/", url)]
    numbers = {row for rows in rows_with(tokens, documents).values() for row in rows}
    if not numbers:
        return None
    rows = rows_of(base)
    origins = rows.origins(numbers)
    here = [
        (-origin.tokens, row, place)
        for row, inside in origins.items()
        for place, origin in enumerate(inside)
        if origin.document in documents
    ]
    _, row, place = min(here)
    batch = rows.batch(np.array([row]))
    ids = [int(each) for each in batch.tokens_BT[0][batch.documents_BT[0] == place]]
    steps = Steps.model_validate_json(base.path(STEPS).read_bytes())
    beside = tuple(origin for number, origin in enumerate(origins[row]) if number != place)
    return LearnedRow(
        row, tuple(steps.uses(row)), origins[row][place].start, beside, tuple(_pieces(base, ids))
    )


def _pieces(base: BaseModel, ids: Sequence[int]) -> list[Piece]:
    """Each token with its surprise, before the training and after it."""
    import torch

    from pipeline.chat.terminal import visible
    from pipeline.evaluation.likelihood import token_nats
    from pipeline.models.generation import piece_bytes

    trained, tokenizer = base.load(torch.float32)
    (before,) = token_nats(_untrained(base, tokenizer), [ids])
    (after,) = token_nats(trained, [ids])
    spelt = piece_bytes(tokenizer)
    return [
        Piece(id, visible(spelt[id]) or str(tokenizer.convert_ids_to_tokens(id)), one, other)
        for id, one, other in zip(ids[1:], before, after, strict=True)
    ]


def _untrained(base: BaseModel, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """The model as it was before its first step: drawn by the seed, or the one that was gone on from."""
    from pipeline.training.beginning import first_model

    start = base.record.inputs.get("start")
    begun_from = KINDS[start.stage](base.storage, start.key) if start is not None else None
    folder = begun_from.model_folder() if isinstance(begun_from, Model) else None
    known = {name: value for name, value in base.config().items() if name in PretrainConfig.model_fields}
    row_tokens = Tokens(base.storage, base.record.inputs["tokens"].key).row_tokens
    model = first_model(PretrainConfig.model_validate(known), tokenizer, row_tokens, folder)
    model.train(False)
    return model
