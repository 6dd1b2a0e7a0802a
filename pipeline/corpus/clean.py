"""The stage that chooses: raw documents → documents kept, and dropped ones each with its reason.

The work itself is in clean_shards.py; this module holds the stage's configuration, its artifact
and the order of its steps.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from pipeline.compute import Compute, any_lost, counts_of, files_of
from pipeline.config import Config
from pipeline.corpus.extract import RawDocuments
from pipeline.errors import StageError
from pipeline.store import Artifact, Attempt, Made, Store, Work

if TYPE_CHECKING:
    import datasets

KEPT_PAGES = {"documentation": 0.95, "web": 0.6}
"""Share of the pages that is kept. Of documentation: 97 % (pdoc), 95 % (Sphinx), 75 % (guides in two
languages). Of the web a guess: of all of it about a tenth is worth it (Penedo et al., 2023,
arXiv:2306.01116), of sites that were chosen far more."""
KEPT_BYTES = {"documentation": 0.22, "web": 0.05}
"""Text kept, for a byte of HTML that was crawled. Of documentation: 0.21 (pdoc and Sphinx), 0.28 (guides),
0.15 (small pages). Of the web a guess: there is more in its pages that is not text."""


class CleanConfig(Config):
    """Which documents are worth keeping. The quality rules lie in rules/, a file per language."""

    languages: tuple[str, ...] = Field(default=("en", "pt"), min_length=1)
    """ISO 639-1 codes of the languages that are kept."""
    duplicate_bands: int = Field(default=14, ge=1, le=1_000)
    """Bands of the MinHash signature; more of them find less similar documents."""
    duplicate_rows: int = Field(default=8, ge=1, le=100)
    """Hashes in a band; with 14 bands of 8, half of the pairs of similarity .72 are found."""

    @field_validator("languages")
    @classmethod
    def languages_have_rules(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        from pipeline.corpus.quality import known_languages

        known = known_languages()
        for language in languages:
            if language not in known:
                raise ValueError(
                    f"there are no quality rules for {language!r}, only for {', '.join(known)}; "
                    f"leave it out, or add pipeline/corpus/rules/{language}.toml"
                )
        return languages


class NoDocumentSurvivesError(StageError):
    """Every page was dropped."""

    passes = False
    remedy = (
        "Look at the rule that dropped most, which the message names, and loosen it in [clean]; or "
        "set clean.languages to the pages' own."
    )


class Documents(Artifact):
    """Documents worth learning from in `kept/`, all other pages with their reasons in `dropped/`."""

    stage, role, revision = "clean", "documents", 1

    def kept(self) -> "datasets.Dataset":
        """Columns id, url, title, text, language, language_score, kind; sorted by id within each shard."""
        return as_dataset(self.paths("kept/"))

    def dropped(self) -> "datasets.Dataset":
        """Columns id, url, title, text, reason, value, threshold, detail; extraction's drops are included."""
        return as_dataset(self.paths("dropped/"))


def clean(store: Store, raw: RawDocuments, config: CleanConfig, compute: Compute) -> Documents:
    """Documents by language, quality rules and duplicates.

    In the counts pages = kept + the sum of dropped.<reason>, exactly. Raises NoDocumentSurvivesError.
    """
    return store.make(
        Documents,
        config,
        {"raw": raw},
        partial(_build, raw=raw, config=config, compute=compute),
        content={"rules": _rules_hash(config.languages)},
        work=partial(_work, raw),
    )


def _work(raw: RawDocuments) -> Work:
    """`kept` and `kept-bytes` by the shares that were seen of pages of this kind."""
    counts, kind = raw.counts(), raw.config()["kind"]
    return {
        "pages": counts["pages"],
        "kept": counts["pages"] * KEPT_PAGES[kind],
        "kept-bytes": counts["bytes"] * KEPT_BYTES[kind],
    }


def _rules_hash(languages: tuple[str, ...]) -> str:
    from pipeline.corpus.quality import rules_identity

    canonical = json.dumps(rules_identity(sorted(languages)), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _build(attempt: Attempt, raw: RawDocuments, config: CleanConfig, compute: Compute) -> Made:
    from pipeline.corpus import clean_shards
    from pipeline.corpus.tables import require_all

    shards = [name.removeprefix("raw/").removesuffix(".parquet") for name in raw.names("raw/")]
    judged = compute.map_shards(
        attempt,
        "judge",
        {shard: clean_shards.Judging(raw, shard, config) for shard in shards},
        clean_shards.judge,
    )
    compared = compute.map_shards(
        attempt, "compare", {"all": clean_shards.Comparing(attempt, tuple(judged))}, clean_shards.compare
    )
    divided = compute.map_shards(
        attempt,
        "divide",
        {
            record.identity: clean_shards.Dividing(raw, attempt, record, compared[0])
            for record in judged
            if record.lost is None
        },
        clean_shards.divide,
    )
    counts = counts_of(divided)
    if not counts.get("kept"):
        why = clean_shards.why_nothing_is_left(attempt, divided)
        raise NoDocumentSurvivesError(f"no document survives cleaning: {why}")
    lost = any_lost(judged + compared + divided)
    if not lost:
        dropped = sum(count for name, count in counts.items() if name.startswith("dropped."))
        require_all("clean", raw.record.counts["pages"], counts["kept"] + dropped)
    return Made(files=files_of(divided), counts=counts, incomplete=lost)


def as_dataset(paths: list[Path]) -> "datasets.Dataset":
    """The rows of Parquet files, memory-mapped by way of `datasets`' cache."""
    import datasets

    with _without_progress_bars():
        found = datasets.Dataset.from_parquet([str(path) for path in paths])
    assert isinstance(found, datasets.Dataset)
    return found


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """`datasets` draws bars on whatever terminal there is; progress is shown by the command line alone."""
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()
