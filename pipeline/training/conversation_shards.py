"""The work of the conversations stage, as Ray tasks: finding pairs, choosing among them, reading files."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.tables import local_path, write_rows, write_table
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, ShardRecord
from pipeline.training.conversations import ConversationsConfig, Questions, Split
from pipeline.training.messages import read_messages
from pipeline.training.pairs import Pair, find_pairs
from pipeline.training.speeches import find_speech_pairs

PAIRS = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("language", pa.string()),
        ("kind", pa.string()),
        ("subject", pa.string()),
        ("context", pa.string()),
        ("answer", pa.string()),
    ]
)
CONVERSATIONS = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("language", pa.string()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("question", pa.string()),
        ("answer", pa.string()),
    ]
)
SPLITS: tuple[Split, Split] = ("held-out", "train")
"""In the order in which questions and answers are given away: what is held out must not be trained on."""

SUBJECTS_OF_AN_ANSWER = 3
"""What is said of more subjects (an inherited docstring) tells nothing about any of them."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    corpus: Corpus
    name: str
    config: ConversationsConfig


@dataclass(frozen=True)
class Choosing:
    attempt: Attempt
    found: tuple[ShardRecord, ...]
    config: ConversationsConfig


def find(finding: Finding, output: ShardOutput) -> Mapping[str, int]:
    """All pairs of one shard of documents, to `found/<split>/NNNNN.parquet`."""
    config, rows = finding.config, []
    for document in pq.read_table(finding.corpus.path(finding.name)).to_pylist():
        if _asked_in(document["language"], config) is None:
            continue
        pairs = _pairs(document, config)
        rows += [
            {
                "id": f"{document['id']}-{number:04}",
                "url": document["url"],
                "language": document["language"],
                "kind": pair.kind,
                "subject": pair.subject,
                "context": pair.context,
                "answer": pair.answer,
            }
            for number, pair in enumerate(pairs)
        ]
    write_rows(output.path(f"found/{finding.name}"), rows, PAIRS)
    return {"found": len(rows)}


def _pairs(document: Row, config: ConversationsConfig) -> list[Pair]:
    if config.form == "speeches":
        return find_speech_pairs(document["text"], config.answer_characters)
    title = document["title"] or ""
    return find_pairs(document["text"], title, config.answer_characters, config.answer_paragraphs)


def choose(choosing: Choosing, output: ShardOutput) -> Mapping[str, int]:
    """The conversations of both splits, each question and each answer once over both of them."""
    config = choosing.config
    found: dict[Split, list[Row]] = {"train": [], "held-out": []}
    for record in choosing.found:
        for name, file in record.files.items():
            split: Split = "train" if name.startswith("found/train/") else "held-out"
            found[split] += pq.read_table(local_path(choosing.attempt, file)).to_pylist()
    everything = [row for rows in found.values() for row in rows]
    ambiguous = _shared(everything, lambda row: _normal(row["subject"]))
    hopeless = _shared(everything, lambda row: _normal(f"{row['subject']}\0{row['context']}"))
    said = Counter(_normal(row["answer"]) for row in everything)
    limits = {"train": config.train_conversations, "held-out": config.held_out_conversations}
    seen: set[str] = set()
    reasons = ("asked-about-twice", "said-of-many", "said-twice", "over-limit")
    counts = {"found": len(everything)} | dict.fromkeys(reasons, 0)
    for split in SPLITS:
        kept = []
        for row in sorted(found[split], key=lambda row: _hash(row["id"])):
            shared = _normal(row["subject"]) in ambiguous
            unclear = not row["context"] or _normal(f"{row['subject']}\0{row['context']}") in hopeless
            if shared and (unclear or row["kind"] == "question"):
                counts["asked-about-twice"] += 1
                continue
            if said[_normal(row["answer"])] > SUBJECTS_OF_AN_ANSWER:
                counts["said-of-many"] += 1
                continue
            question = _question(row, config, within=shared)
            keys = {f"a {_normal(row['answer'])}", f"q {_normal(question)}"}
            if keys & seen:
                counts["said-twice"] += 1
                continue
            seen |= keys
            kept.append(_conversation(row, question, _answer(row, config)))
        counts["over-limit"] += max(0, len(kept) - limits[split])
        counts[split] = _write(output.path(f"{split}/00000.parquet"), kept[: limits[split]])
    return counts


def read_source(config: ConversationsConfig, output: ShardOutput) -> Mapping[str, int]:
    """A user's conversations, with a share held out by the hash of their first question."""
    rows: dict[str, Row] = {}
    read = 0
    for row in read_messages(config):
        rows.setdefault(row["id"], row)
        read += 1
    questions = sorted({_normal(row["question"]) for row in rows.values()}, key=_hash)
    aside = max(1, round(config.held_out_share * len(questions))) if len(questions) > 1 else 0
    apart = set(questions[:aside])
    limits = {"train": config.train_conversations, "held-out": config.held_out_conversations}
    counts = {"read": read, "said-twice": read - len(rows), "over-limit": 0}
    for split in SPLITS:
        own = [row for row in rows.values() if (_normal(row["question"]) in apart) == (split == "held-out")]
        own.sort(key=lambda row: _hash(row["id"]))
        counts["over-limit"] += max(0, len(own) - limits[split])
        counts[split] = _write(output.path(f"{split}/00000.parquet"), own[: limits[split]])
    return counts


def _asked_in(language: str, config: ConversationsConfig) -> Questions | None:
    """The ways to ask in a language, or else in that of which it is a variety: pt of pt-BR."""
    return config.questions.get(language) or config.questions.get(language.split("-", 1)[0])


def _question(row: Row, config: ConversationsConfig, *, within: bool) -> str:
    """The subject in one of its language's phrasings; which one hangs on the row's id."""
    if row["kind"] == "question":
        return str(row["subject"])
    questions, place = _phrasing(row, config)
    templates: Sequence[str] = questions.name if row["kind"] == "name" else questions.topic
    subject = str(row["subject"])
    if within:
        subject = questions.within.replace("{name}", subject).replace("{context}", row["context"])
        if row["kind"] == "topic":
            subject = subject.replace("`", "")
    return templates[place].replace("{name}", subject)


def _phrasing(row: Row, config: ConversationsConfig) -> tuple[Questions, int]:
    """The ways to ask in its language, and which of those about such a subject."""
    questions = _asked_in(row["language"], config)
    assert questions is not None
    ways = len(questions.name if row["kind"] == "name" else questions.topic)
    return questions, int(_hash(f"phrasing {row['id']}")[:8], 16) % ways


def _answer(row: Row, config: ConversationsConfig) -> str:
    """What the document says, behind the subject's name in the share of answers that begin with it."""
    answer = str(row["answer"])
    if row["kind"] not in ("name", "topic"):
        return answer
    share = config.named_shares[_phrasing(row, config)[1] % len(config.named_shares)]
    if int(_hash(f"named {row['id']}")[:8], 16) >= share * 16**8:
        return answer
    subject = f"`{row['subject']}`" if row["kind"] == "name" else row["subject"]
    return f"{subject}: {answer}"


def _conversation(row: Row, question: str, answer: str) -> Row:
    return {
        "id": row["id"],
        "url": row["url"],
        "language": row["language"],
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
        "question": question,
        "answer": answer,
    }


def _shared(rows: Iterable[Row], key: Callable[[Row], str]) -> set[str]:
    return {value for value, count in Counter(map(key, rows)).items() if count > 1}


def _write(path: Path, rows: list[Row]) -> int:
    """Sorted by id; equal rows give equal bytes."""
    ordered = sorted(rows, key=lambda row: row["id"])
    write_table(path, pa.Table.from_pylist(ordered, schema=CONVERSATIONS))
    return len(rows)


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
