"""Portuguese test sets in the files that their authors publish, as rows like those on the hub.

Each is a file, or a folder with the files' original names. Nothing is fetched.
"""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

Rows = list[dict[str, Any]]
Splits = dict[str, Rows]
"""train (examples are taken from it; may be missing) and test (what is scored)."""

ENTAILMENTS = {"none": 0, "entailment": 1}
LETTERS = "ABCDE"


class HarnessFilesError(InputError):
    """Local files of a test set are missing, or not in the format of the originals."""

    remedy = (
        "Give the file or folder as its authors publish it: assin2-test.xml (ASSIN 2), dev.json (FaQuAD, "
        "SQuAD's format), or JSON lines with question, alternatives and label (ENEM)."
    )


def assin2(path: Path) -> Splits:
    """ASSIN 2 (Real et al., 2020): XML of pairs, as `premise`, `hypothesis`, `entailment_judgment`,
    `relatedness_score`. Raises HarnessFilesError."""
    return _splits(
        path, {"train": ("assin2-train-only.xml", "assin2-train.xml"), "test": ("assin2-test.xml",)}, _pairs
    )


def faquad(path: Path) -> Splits:
    """FaQuAD (Sayama et al., 2019): JSON in SQuAD's format, as `context`, `question`, `answers`.

    Its held-out part is dev.json. Raises HarnessFilesError.
    """
    return _splits(path, {"train": ("train.json",), "test": ("dev.json", "test.json")}, _squad)


def enem(path: Path) -> Splits:
    """ENEM: questions as JSON lines, one file for each year, as `question`, `choices`, `answerKey`.

    Both usual forms are read: `alternatives` with `label`, and `choices` with `answerKey`. Questions
    that were annulled, or that need a picture, are left out. Raises HarnessFilesError.
    """
    files = sorted(path.glob("*.json*")) if path.is_dir() else [path]
    rows = [row for file in files for row in _read(file, _questions)]
    if not rows:
        raise HarnessFilesError(f"{path}: no question was found in {len(files)} files (*.json, *.jsonl)")
    return {"test": rows}


def _splits(path: Path, names: dict[str, tuple[str, ...]], read: Callable[[Path], Iterator[Any]]) -> Splits:
    if not path.is_dir():
        return {"test": _read(path, read)}
    found = {
        split: next((path / name for name in among if (path / name).is_file()), None)
        for split, among in names.items()
    }
    if found["test"] is None:
        there = ", ".join(sorted(file.name for file in path.iterdir())[:5]) or "nothing"
        raise HarnessFilesError(f"{path}: {' or '.join(names['test'])} is not there; found {there}")
    return {split: _read(file, read) for split, file in found.items() if file is not None}


def _read(path: Path, read: Callable[[Path], Iterator[Any]]) -> Rows:
    """All rows. Raises HarnessFilesError with what is wrong."""
    try:
        rows = list(read(path))
    except OSError as error:
        raise HarnessFilesError(f"{path}: {error.strerror or error}") from error
    except (ElementTree.ParseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HarnessFilesError(f"{path}: {type(error).__name__}: {error}") from error
    if not rows:
        raise HarnessFilesError(f"{path}: nothing to score was found")
    return rows


def _pairs(path: Path) -> Iterator[dict[str, Any]]:
    for pair in ElementTree.parse(path).getroot().iter("pair"):
        number = pair.attrib["id"]
        if "similarity" not in pair.attrib:
            raise ValueError(f"pair {number} has no similarity; is this the blind file without the answers?")
        yield {
            "sentence_pair_id": int(number),
            "premise": (pair.findtext("t") or "").strip(),
            "hypothesis": (pair.findtext("h") or "").strip(),
            "relatedness_score": float(pair.attrib["similarity"]),
            "entailment_judgment": ENTAILMENTS[pair.attrib["entailment"].lower()],
        }


def _squad(path: Path) -> Iterator[dict[str, Any]]:
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answers = asked["answers"]
                yield {
                    "id": str(asked["id"]),
                    "title": article.get("title", ""),
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answers": {
                        "text": [answer["text"] for answer in answers],
                        "answer_start": [int(answer["answer_start"]) for answer in answers],
                    },
                }


def _questions(path: Path) -> Iterator[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    whole = text.lstrip().startswith("[")
    rows = json.loads(text) if whole else [json.loads(line) for line in text.splitlines() if line.strip()]
    for row in rows:
        if row.get("figures") or row.get("nullified"):
            continue
        if "alternatives" in row:
            texts, letter = [str(each) for each in row["alternatives"]], row["label"]
        else:
            texts, letter = [str(each) for each in row["choices"]["text"]], row["answerKey"]
        if letter not in LETTERS[: len(texts)]:
            continue
        yield {
            "id": str(row["id"]),
            "question": row["question"],
            "choices": {"text": texts, "label": list(LETTERS[: len(texts)])},
            "answerKey": letter,
        }
