"""Documents that repeat examples of evaluation sets: a model that has read them is not measured by them.

Compared are runs of 13 words, as in GPT-3's contamination study (Brown et al., 2020,
arXiv:2005.14165, appendix C). The work itself is in contamination_shards.py; this module holds the
settings of the clean stage.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.store import sha256_of

TEXT_FORMATS = (".txt", ".md")
FORMATS = (".jsonl", ".parquet", *TEXT_FORMATS)


class EvaluationSet(Config):
    """A file of examples that no document of the corpus should repeat."""

    path: str
    """A .jsonl, .parquet, .txt or .md file."""
    columns: tuple[str, ...] = ("text",)
    """Of JSONL and Parquet: which columns hold the examples' text; lists in them are looked into."""

    @field_validator("path")
    @classmethod
    def path_has_a_known_ending(cls, path: str) -> str:
        if Path(path).suffix not in FORMATS:
            raise ValueError(f"{path!r} ends in none of {', '.join(FORMATS)}; convert it, or rename it")
        return path


class ContaminationConfig(Config):
    """Against what documents are compared, and how much they may share."""

    sets: tuple[EvaluationSet, ...] = ()
    """Evaluation sets; their content, not their paths, is part of the key."""
    words: int = Field(default=13, ge=4, le=100)
    """Words of a run. Shorter runs are common phrases; examples that are shorter are never found."""
    share: float = Field(default=0.0, ge=0, lt=1)
    """Documents are dropped of which more than this share of the words lies in shared runs."""

    def identity(self) -> dict[str, Any]:
        """Without the sets' paths: their content is identity enough."""
        values = super().identity()
        if self.sets:
            values["sets"] = [each.columns for each in self.sets]
        return values


class EvaluationSetError(InputError):
    """An evaluation set is not there, cannot be read, or lacks a column."""

    remedy = "Correct clean.contamination.sets: the path, or the columns that the message lists."


def check_sets(config: ContaminationConfig) -> dict[str, str]:
    """SHA-256 of each set's file, by its place.

    Raises EvaluationSetError if one is not there, or if its first row cannot be used.
    """
    found = {}
    if config.sets:
        from pipeline.corpus.contamination_shards import passages_of
    for place, each in enumerate(config.sets):
        path = Path(each.path).expanduser()
        if not path.is_file():
            raise EvaluationSetError(
                f"clean.contamination.sets names {each.path!r}, and there is no such file ({path.resolve()})"
            )
        next(passages_of(each), None)
        found[f"evaluation-{place}"] = sha256_of(path)
    return found
