"""Pairs found in documents, what may be held out, and what users' files get told."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.shards import ShardOutput
from pipeline.store import Artifact, Attempt, Made, Storage, Store
from pipeline.store.records import ShardRecord
from pipeline.training.conversation_shards import PAIRS, Choosing, choose
from pipeline.training.conversations import (
    Conversations,
    ConversationsConfig,
    NoConversationsError,
    check_messages,
    write_conversations,
)
from pipeline.training.messages import (
    EmptyTurnError,
    MessagesMissingError,
    RoleError,
    TurnOrderError,
)
from pipeline.training.pairs import find_pairs, first_sentences
from pipeline.training.user_rows import RevisionMissingError, RowError, SourceError
from tests.evaluation.stand_ins import NoConfig

ENGLISH = """# zipfile

Read and write ZIP files.

## def is_zipfile(filename)

Quickly see if a file is a ZIP file by checking the magic number.

The filename argument may be a file or file-like object too.

## class ZipFile

Class with methods to open, read, write, close, list zip files. They are closed with it.

z = ZipFile(file, mode="r", compression=ZIP_STORED)

### def namelist(self)

Return a list of file names in the archive

### def _private(self)

Return something that nobody should ask about.

### Parameters

Every one of these words describes a parameter.

### def hidden(self)

```
Return a list that is code and not prose at all.
```

## Working with large archives

Archives beyond four gigabytes need the ZIP64 extensions, e.g. when backups are kept. They are on by default.

MIMEMultipart( _subtype='mixed', boundary=None, *, policy=None, **_params)

Creates a multipart message with the proper headers.
"""
PORTUGUESE = """# Instalação

## Particionando o disco

Antes de instalar é preciso dividir o disco em partições. Cada partição guarda um sistema de arquivos.

## O que é um terminal?

Um terminal é um programa onde se digitam comandos, um em cada linha.
"""


def test_headings_and_signatures_are_asked_about_and_their_first_sentences_answer():
    found = {pair.subject: pair for pair in find_pairs(ENGLISH, "zipfile API documentation", 300)}
    assert {name: pair.answer for name, pair in found.items()} == {
        "zipfile": "Read and write ZIP files.",
        "is_zipfile": "Quickly see if a file is a ZIP file by checking the magic number.",
        "ZipFile": "Class with methods to open, read, write, close, list zip files. They are closed with it.",
        "ZipFile.namelist": "Return a list of file names in the archive.",
        "Working with large archives": "Archives beyond four gigabytes need the ZIP64 extensions, "
        "e.g. when backups are kept. They are on by default.",
        "MIMEMultipart": "Creates a multipart message with the proper headers.",
    }
    assert found["Working with large archives"].kind == "topic"
    assert found["ZipFile.namelist"].context == "zipfile"


def test_a_heading_that_is_a_question_asks_by_itself():
    pairs = find_pairs(PORTUGUESE, "", 300)
    assert [(pair.kind, pair.subject) for pair in pairs] == [
        ("topic", "Particionando o disco"),
        ("question", "O que é um terminal?"),
    ]


@given(st.text(alphabet="Aa b.c?!`(\n#*é|", max_size=400), st.integers(40, 200), st.integers(1, 3))
@settings(max_examples=200)
def test_answers_are_whole_sentences_of_the_document_and_never_too_long(
    text: str, characters: int, paragraphs: int
):
    flat = " ".join(text.split())
    for pair in find_pairs(text, "t", characters, paragraphs):
        pieces = pair.answer.split("\n\n")
        assert len(pieces) <= paragraphs
        assert len(pair.answer) <= characters + 1
        for piece in pieces:
            assert piece in flat or piece[:-1] in flat
            assert piece.rstrip("\"'”’)]`")[-1] in ".!?"


def test_an_answer_goes_through_as_many_paragraphs_as_are_allowed_fit_and_are_prose():
    first, second, third = (
        "The mill grinds the corn.",
        "Two big stones turn in it.",
        "Water drives both of them.",
    )
    text = "\n\n".join(["# Mill", "## The old mill", first, second, third, "- a list", "It is closed today."])

    def answer(characters, paragraphs, text=text):
        return find_pairs(text, "", characters, paragraphs)[-1].answer

    assert answer(300, 1) == first
    assert answer(300, 2) == f"{first}\n\n{second}"
    assert answer(300, 9) == f"{first}\n\n{second}\n\n{third}"
    assert answer(60, 9) == f"{first}\n\n{second}"
    long = text.replace(second, f"{second} The corn is fed from above. A boy waits below. He holds a sack.")
    assert answer(300, 9, long) == f"{first}\n\n{second} The corn is fed from above. A boy waits below."


def test_what_is_not_prose_does_not_answer():
    for text in (
        "int -> date corresponding to a proleptic Gregorian ordinal.",
        "x = compute(a, b) is what it calls, see there for more.",
        "filename: Either the path to the file, or a file-like object.",
        "XXX references to utf-8 need further investigation.",
        "Short one.",
        "| Function | Description of it all |",
    ):
        assert first_sentences(text, 300) is None


class Documents(Artifact):
    """A corpus by split, as the hold-out stage leaves it."""

    stage, role = "hold-out", "corpus"


def corpus_of(store: Store, train: list[str], held_out: list[str]) -> Documents:
    def build(attempt: Attempt) -> Made:
        for split, texts in {"train": train, "held-out": held_out}.items():
            rows = [
                {
                    "id": f"{split}{number}-0",
                    "url": f"http://docs.moinho.test/{split}/{number}",
                    "title": "guide",
                    "language": "pt-BR" if "é" in text else "en",
                    "text": text,
                }
                for number, text in enumerate(texts)
            ]
            path = attempt.path(f"corpus/{split}/00000.parquet")
            pq.write_table(pa.Table.from_pylist(rows), path)
        files = attempt.publish_folder("corpus")
        return Made({name.removeprefix("corpus/"): file for name, file in files.items()})

    return store.make(Documents, NoConfig(), {}, build)


def test_the_corpus_is_asked_about_in_each_language_and_splits_stay_apart(store, compute):
    held_out = "# email\n\n## def parse(text)\n\nParse a text into a message, with all of its headers.\n\n"
    corpus = corpus_of(
        store, [ENGLISH, PORTUGUESE], [held_out + "## def again(f)\n\nRead and write ZIP files."]
    )
    made = write_conversations(store, corpus, ConversationsConfig(), compute)
    train, apart = list(made.rows("train")), list(made.rows("held-out"))
    assert made.record.counts["train"] == len(train) == 7
    assert {row["answer"] for row in apart} == {
        "Parse a text into a message, with all of its headers.",
        "Read and write ZIP files.",
    }
    assert "Read and write ZIP files." not in {row["answer"] for row in train}
    for row in train + apart:
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        assert row["messages"][0]["content"] == row["question"]
        assert row["url"].startswith("http://docs.moinho.test/")
    questions = {row["question"]: row["language"] for row in train}
    assert questions["O que é um terminal?"] == "pt-BR"
    assert any("`is_zipfile`" in question for question in questions)


rows_of_pairs = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "m", "n"]), st.sampled_from("uvwxyz")),
    max_size=12,
)


def chosen_of(
    folder: Path, found: dict[str, list[tuple[str, str, str]]], config: ConversationsConfig
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The conversations chosen from (subject, context, answer) of both splits, and what was counted."""
    attempt = Attempt(Storage(str(folder)), "conversations", "k", "a")
    files = {}
    for split, triples in found.items():
        rows = [
            {
                "id": f"{split}-{number}",
                "url": "",
                "language": "en",
                "kind": "name",
                "subject": subject,
                "context": context,
                "answer": f"The answer {answer}.",
            }
            for number, (subject, context, answer) in enumerate(triples)
        ]
        path = attempt.path(f"{split}.parquet")
        pq.write_table(pa.Table.from_pylist(rows, schema=PAIRS), path)
        files[f"found/{split}/00000.parquet"] = attempt.publish(path)
    record = ShardRecord(identity="x", files=files, counts={})
    counts = choose(Choosing(attempt, (record,), config), ShardOutput(folder))
    chosen = [row for split in found for row in pq.read_table(folder / split / "00000.parquet").to_pylist()]
    return chosen, dict(counts)


@given(train=rows_of_pairs, held_out=rows_of_pairs)
@settings(max_examples=60)
def test_no_question_and_no_answer_is_in_both_splits_or_twice(tmp_path_factory, train, held_out):
    folder = tmp_path_factory.mktemp("choose")
    chosen, counts = chosen_of(folder, {"train": train, "held-out": held_out}, ConversationsConfig())
    assert len({row["answer"] for row in chosen}) == len({row["question"] for row in chosen}) == len(chosen)
    assert counts["found"] == sum(value for name, value in counts.items() if name != "found")


def test_a_share_of_answers_begins_with_what_was_asked_about(tmp_path):
    found = [(f"name_{number}", "", str(number)) for number in range(400)]
    chosen, _ = chosen_of(
        tmp_path, {"train": found, "held-out": []}, ConversationsConfig(named_shares=(1.0, 0.0))
    )
    named = [row for row in chosen if row["answer"].startswith("`name_")]
    assert len(named) / len(chosen) == pytest.approx(0.5, abs=0.08)
    assert {row["question"].split("`")[0] for row in named}.isdisjoint(
        row["question"].split("`")[0] for row in chosen if row not in named and row["question"].endswith("`?")
    )
    for row in named:
        name, answer = row["answer"].split(": ")
        assert name in row["question"]
        assert answer.startswith("The answer")
        assert row["messages"][1]["content"] == row["answer"]


def user_file(folder: Path, rows: list[object], name: str = "mine.jsonl") -> ConversationsConfig:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)  # type: ignore[arg-type]
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ConversationsConfig(source=str(path))


def talk(*contents: str) -> dict[str, object]:
    roles = ["user", "assistant"] * len(contents)
    return {"messages": [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]}


GOOD = [talk(f"Question {number}?", f"Answer {number}.") for number in range(40)]


@pytest.fixture
def untouched() -> Artifact:
    """A corpus that must not be needed."""
    return Documents(Storage("nowhere"), "none")


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.parquet"])
def test_a_users_file_is_known_by_its_content_wherever_it_lies(store, compute, tmp_path, untouched, name):
    first = write_conversations(store, untouched, user_file(tmp_path, GOOD, name), compute)
    (tmp_path / "elsewhere").mkdir()
    moved = user_file(tmp_path / "elsewhere", GOOD, f"renamed{Path(name).suffix}")
    assert write_conversations(store, untouched, moved, compute).key == first.key
    assert first.record.counts["train"] + first.record.counts["held-out"] == 40
    assert first.record.counts["held-out"] == 2
    changed = user_file(tmp_path, [*GOOD, talk("More?", "Yes, more.")], name)
    assert write_conversations(store, untouched, changed, compute).key != first.key


def test_a_data_set_on_disk_is_read_by_datasets(store, compute, tmp_path, untouched):
    folder = tmp_path / "dataset"
    folder.mkdir()
    user_file(folder, GOOD, "train.parquet")
    made = write_conversations(store, untouched, ConversationsConfig(source=str(folder)), compute)
    assert made.record.counts["read"] == 40
    assert isinstance(made, Conversations)
    assert made.dataset("train").column_names == ["id", "url", "language", "messages", "question", "answer"]


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        ({"text": "x"}, MessagesMissingError, ["row 3", "'text'", '"messages"']),
        ({"messages": []}, MessagesMissingError, ["row 3", "an empty list"]),
        ({"messages": "hi"}, MessagesMissingError, ["row 3", "str"]),
        ({"messages": [{"content": "x"}]}, RoleError, ["row 3, message 1", "no role"]),
        (
            {"messages": [{"role": "human", "content": "x"}]},
            RoleError,
            ["'human'", "system, user, assistant"],
        ),
        (talk("Hello?", "  "), EmptyTurnError, ["row 3, message 2", "'  '"]),
        (talk("Hello?"), TurnOrderError, ["row 3", "no answer to learn"]),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
            TurnOrderError,
            ["row 3, message 2", "'assistant' should speak"],
        ),
        (["not", "an", "object"], RowError, ["row 3", "list"]),
    ],
)
def test_a_wrong_row_is_refused_with_file_row_and_what_to_do(tmp_path, row, error, words):
    config = user_file(tmp_path, [*GOOD[:2], row])
    with pytest.raises(error) as caught:
        check_messages(config)
    assert isinstance(caught.value, InputError)
    for word in [str(tmp_path / "mine.jsonl"), *words]:
        assert word in str(caught.value)


def test_a_line_that_is_no_json_is_named(tmp_path):
    config = user_file(tmp_path, GOOD)
    with Path(config.source).open("a") as file:
        file.write("{broken\n")
    with pytest.raises(RowError, match=r"row 41: not JSON .*\{broken"):
        check_messages(config)


def test_sources_that_cannot_be_read_are_refused_before_anything_is_made(store, compute, tmp_path, untouched):
    with pytest.raises(SourceError, match="no such file"):
        write_conversations(store, untouched, ConversationsConfig(source="missing.jsonl"), compute)
    with pytest.raises(RevisionMissingError, match="the commit that is meant"):
        write_conversations(store, untouched, ConversationsConfig(source="someone/chats"), compute)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(SourceError, match="not a Parquet file"):
        check_messages(ConversationsConfig(source=str(broken)))
    assert list(store.records()) == []


def test_a_single_conversation_leaves_nothing_to_hold_out(store, compute, tmp_path, untouched):
    with pytest.raises(NoConversationsError, match="none for held-out"):
        write_conversations(store, untouched, user_file(tmp_path, GOOD[:1]), compute)


def test_templates_must_name_their_subject():
    english = {"name": ["What is it?"], "topic": ["About {name}"], "within": "{name} in {context}"}
    with pytest.raises(ValueError, match="asks about nothing"):
        ConversationsConfig.model_validate({"questions": {"en": english}})
