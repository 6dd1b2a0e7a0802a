"""The stage that chooses: raw documents → documents kept, and dropped ones each with its reason.

The work itself is in clean_shards.py; this module holds the stage's configuration, its artifact
and the order of its steps.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.contamination import ContaminationConfig, check_sets
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.forgotten import Forgotten, forgotten_in, urls_in
from pipeline.corpus.personal.matching import PLACEHOLDERS
from pipeline.corpus.privacy import PrivacyConfig
from pipeline.corpus.tables import as_dataset
from pipeline.corpus.told_languages import primary, undecided_tags
from pipeline.errors import InputError, StageError
from pipeline.shards import any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, Made, ShardRecord, Store, Work

if TYPE_CHECKING:
    import datasets

    from pipeline.corpus.classifier import Classifier
    from pipeline.corpus.rule_files import LanguageRules

KEPT_PAGES = {"documentation": 0.95, "web": 0.6, "article": 0.9, "book": 0.9, "thread": 0.6}
"""Share of the pages that is kept. Of documentation: 97 % (pdoc), 95 % (Sphinx), 75 % (guides in two
languages). Of the web a guess: of all of it about a tenth is worth it (Penedo et al., 2023,
arXiv:2306.01116), of sites that were chosen far more; and so of the other kinds."""
KEPT_BYTES = {"documentation": 0.22, "web": 0.05, "article": 0.5, "book": 0.5, "thread": 0.1}
"""Text kept, for a byte of HTML that was crawled. Of documentation: 0.21 (pdoc and Sphinx), 0.28 (guides),
0.15 (small pages). Of the web a guess: there is more in its pages that is not text."""

NEAR_ENOUGH = 0.75
"""Likeness of the tag that was probably meant (difflib's): pt-BZ and pt-BR are .8."""
Keeper = Literal["smallest-id", "longest", "newest", "best-quality"]
"""Which of several duplicates is kept."""
Undecided = Literal["keep", "drop"]
"""What becomes of documents that may be of any variety of their language."""
Scope = Literal["off", "site", "corpus"]
"""Within what something is kept once; nowhere if it is off."""


class CleanConfig(Config):
    """Which documents are worth keeping. The quality rules lie in rules/, a file per language."""

    languages: tuple[str, ...] = Field(default=("en", "pt"), min_length=1)
    """Languages that are kept: ISO 639-1 codes, or a variety's tag (pt-BR), which leaves out the others
    (pt-PT). For a language without a file of rules they are measured on its documents."""
    undecided_variety: Undecided = "keep"
    """Where varieties alone are named: what becomes of documents of their language that too few marks, or
    marks of both, leave undecided (pt). `kept-undecided` counts those that are kept."""
    rule_files: tuple[str, ...] = ()
    """Files of rules, named <language>.toml, that stand for those in pipeline/corpus/rules/. Paths count
    from the working folder."""
    replaced_letters: float = Field(default=0.005, ge=0, le=1)
    """Share of a document's letters that may be lost (U+FFFD); 1 keeps all damaged documents."""
    second_language: float = Field(default=0.3, ge=0, le=1)
    """Share of a document that may be in another language than the rest; 1 keeps all mixed documents."""
    boilerplate_pages: int = Field(default=10, ge=2)
    """A line that stands on so many pages of a site at least..."""
    boilerplate_share: float = Field(default=0.3, gt=0, le=1)
    """...and on this share of its pages is taken out of them. Neither books nor articles out of files have
    a site."""
    least_quality: float = Field(default=0.0, ge=0, le=1)
    """Documents to which the classifier gives less are dropped; 0 drops none. Without one nothing is."""
    duplicate_bands: int = Field(default=14, ge=1, le=1_000)
    """Bands of the MinHash signature; more of them find less similar documents."""
    duplicate_rows: int = Field(default=8, ge=1, le=100)
    """Hashes in a band; with 14 bands of 8, half of the pairs of similarity .72 are found."""
    keeper: Keeper = "smallest-id"
    """Which of several duplicates is kept: the one with the smallest id (as good as by chance), the longest
    text, the newest date, or the classifier's best score. What has no date or score comes last; of equal
    ones the smallest id is kept. Whatever the rule, the one with the fewest U+FFFD comes first."""
    paragraphs_once: Scope = "off"
    """Within what a paragraph of ten words or more is kept once: a site, or the whole corpus."""
    earlier: tuple[str, ...] = ()
    """Documents of other runs (first/documents, or clean/KEY): what they have already, by text, URL or
    nearly, is not taken again, whatever `keeper` says."""
    privacy: PrivacyConfig = PrivacyConfig()
    """Which personal data is replaced by placeholders in the documents that pass the rules."""
    contamination: ContaminationConfig = ContaminationConfig()
    """Evaluation sets that no document should repeat."""

    @model_validator(mode="after")
    def languages_can_be_told(self) -> Self:
        from pipeline.corpus.rule_files import known_languages, language_of_file
        from pipeline.corpus.told_languages import TOLD

        known = {*known_languages(), *map(language_of_file, self.rule_files)}
        for language in self.languages:
            if language not in TOLD and language not in known:
                spelt = {tag.lower(): tag for tag in sorted(known | TOLD)}
                near = difflib.get_close_matches(language.lower().replace("_", "-"), spelt, 1, NEAR_ENOUGH)
                raise ValueError(
                    f"there are no quality rules for {language!r}, and it is none of the languages that "
                    "py3langid tells apart"
                    + (f"; did you mean {spelt[near[0]]}?" if near else f": {', '.join(spelt.values())}")
                )
        wanted = {primary(language) for language in self.languages}
        for file in self.rule_files:
            if primary(language_of_file(file)) not in wanted:
                raise ValueError(
                    f"rule_files names {file!r}, and its name says that its rules are for "
                    f"{language_of_file(file)!r}, which is not among languages "
                    f"({', '.join(self.languages)}); call it {self.languages[0]}.toml, or add its language"
                )
        return self

    def identity(self) -> dict[str, Any]:
        """Of the sections, too, only what differs from its default; files of rules enter the key by what
        they say, wherever they lie, and documents of other runs as inputs."""
        values = super().identity()
        for name in ("privacy", "contamination"):
            if name in values:
                values[name] = getattr(self, name).identity()
        values.pop("rule_files", None)
        values.pop("earlier", None)
        return values


class EarlierDocumentsError(InputError):
    """Documents of another run that new ones should be compared with are not in the store."""

    remedy = "Correct clean.earlier: names and keys are those that `moinho ls` shows."


class NoDocumentSurvivesError(StageError):
    """Every page was dropped."""

    passes = False
    remedy = (
        "Look at the rule that dropped most, which the message names, and loosen it in [clean]; or "
        "set clean.languages to the pages' own."
    )


class Documents(Artifact):
    """Documents worth learning from in `kept/`, all other pages with their reasons in `dropped/`.

    `boilerplate/` has the lines and paragraphs that were taken out of pages, `rules/` the rules that were
    measured, `contamination/` what documents share with evaluation sets.
    """

    stage, role, revision = "clean", "documents", 4

    def kept(self) -> "datasets.Dataset":
        """Columns as in tables.KEPT; sorted by id within each shard."""
        return as_dataset(self.paths("kept/"))

    def contamination(self) -> "datasets.Dataset":
        """Columns id, url, dropped, share, set, example, runs, words; a row for a document and an example."""
        return as_dataset(self.paths("contamination/"))

    def dropped(self) -> "datasets.Dataset":
        """Columns as in tables.DROPPED; extraction's drops are included."""
        return as_dataset(self.paths("dropped/"))

    def removed_lines(self) -> "datasets.Dataset":
        """Columns site, line, pages: what was taken out of each site's pages, by shard."""
        return as_dataset(self.paths("boilerplate/"))


def clean(
    store: Store,
    raw: RawDocuments,
    config: CleanConfig,
    compute: Compute,
    classifier: "Classifier | None" = None,
) -> Documents:
    """Documents without their sites' boilerplate, by language and quality rules, without duplicates, and
    with placeholders for personal data; without what is to be forgotten.

    In the counts pages = kept + the sum of dropped.<reason>, exactly; personal.<kind> is how often a
    placeholder was put in, in documents that the rules let pass. Raises NoDocumentSurvivesError,
    EvaluationSetError, EarlierDocumentsError.
    """
    earlier = earlier_documents(store, config.earlier)
    forgotten = _forgotten_of(store, raw)
    return store.make(
        Documents,
        config,
        {"raw": raw, "classifier": classifier, **{f"earlier-{n}": each for n, each in enumerate(earlier)}},
        partial(
            _build,
            raw=raw,
            config=config,
            compute=compute,
            classifier=classifier,
            earlier=earlier,
            forgotten=forgotten,
        ),
        content={"rules": _rules_hash(config), **check_sets(config.contamination), **forgotten.identity()},
        work=partial(_work, raw, config),
    )


def _forgotten_of(store: Store, raw: RawDocuments) -> Forgotten:
    """What is to be forgotten of these documents, and no more, lest all other corpora be made again."""
    forgotten = forgotten_in(store.storage)
    if not forgotten or not raw.exists():  # what is yet to be read may have anything
        return forgotten
    return forgotten.only(urls_in(raw, "raw/", "dropped/"))


def earlier_documents(store: Store, references: Sequence[str]) -> list[Documents]:
    """Each once and by key, however they are named. Raises EarlierDocumentsError."""
    keys = set()
    for reference in references:
        stage, key = store.target_of(reference) or reference.rpartition("/")[::2]
        there = store.storage.list(Documents.stage) if key and stage == Documents.stage else []
        found = [each for each in there if each.startswith(key) and Documents(store.storage, each).exists()]
        if len(found) != 1:
            named = store.named().items()
            of_documents = sorted(name for name, (made_by, _) in named if made_by == Documents.stage)
            raise EarlierDocumentsError(
                f"clean.earlier names {reference!r}, and the store {store.storage.address} has "
                f"{len(found) or 'no'} documents of that name or key; there is "
                f"{', '.join(of_documents) or 'nothing that has been cleaned'}"
            )
        keys.add(found[0])
    return [Documents(store.storage, key) for key in sorted(keys)]


def _work(raw: RawDocuments, config: CleanConfig) -> Work:
    """`kept` and `kept-bytes` by the shares that were seen of documents of each kind; in `private-bytes`
    personal data is looked for."""
    counts = raw.counts()
    size = sum(counts.get(f"bytes.{kind}", 0) * share for kind, share in KEPT_BYTES.items())
    return {
        "pages": counts["pages"],
        "kept": sum(counts.get(f"raw.{kind}", 0) * share for kind, share in KEPT_PAGES.items()),
        "kept-bytes": size,
        "private-bytes": size if any(getattr(config.privacy, kind) for kind in PLACEHOLDERS) else 0,
    }


def _rules_hash(config: CleanConfig) -> str:
    from pipeline.corpus.rule_files import rules_identity

    canonical = json.dumps(rules_identity(rules_at_hand(config).values()), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def rules_at_hand(config: CleanConfig) -> "dict[str, LanguageRules]":
    """The rules that need not be measured, of all languages and varieties that may be kept."""
    from pipeline.corpus.rule_files import known_languages, read_rules, rules_of

    own = {rules.language: rules for rules in map(read_rules, map(Path, config.rule_files))}
    wanted = {primary(language) for language in config.languages}
    known = sorted({*known_languages(), *own})
    return {name: own.get(name) or rules_of(name) for name in known if primary(name) in wanted}


def _build(
    attempt: Attempt,
    raw: RawDocuments,
    config: CleanConfig,
    compute: Compute,
    classifier: "Classifier | None",
    earlier: Sequence[Documents],
    forgotten: Forgotten,
) -> Made:
    from pipeline.corpus import clean_shards
    from pipeline.corpus.tables import require_all

    shards = [name.removeprefix("raw/").removesuffix(".parquet") for name in raw.names("raw/")]
    *lines, common = _find_boilerplate(attempt, raw, shards, config, compute, forgotten)
    rules = rules_at_hand(config)
    sampled, measured = _measure_rules(attempt, raw, shards, common, rules, config, compute, forgotten)
    judged = compute.map_shards(
        attempt,
        "judge",
        {
            shard: clean_shards.Judging(
                raw, attempt, shard, config, common, rules, tuple(measured), classifier, forgotten
            )
            for shard in shards
        },
        clean_shards.judge,
    )
    signed = _sign_earlier(attempt, earlier, config, compute)
    comparing = clean_shards.Comparing(attempt, tuple(judged), tuple(signed), config.keeper)
    compared = compute.map_shards(attempt, "compare", {"all": comparing}, clean_shards.compare)
    searched, read = _search(attempt, judged, compared[0], config, compute)
    divided = _divide(attempt, raw, judged, compared[0], searched, config, compute, forgotten)
    counts = counts_of(divided)
    if not counts.get("kept"):
        why = clean_shards.why_nothing_is_left(attempt, divided)
        raise NoDocumentSurvivesError(f"no document survives cleaning: {why}")
    reports = list(searched.values())
    lost = any_lost([*lines, common, *sampled, *measured, *judged, *signed, *compared, *reports, *divided])
    if not lost:
        dropped = sum(count for name, count in counts.items() if name.startswith("dropped."))
        require_all("clean", raw.record.counts["pages"], counts["kept"] + dropped)
    personal = {name: n for name, n in counts_of(judged).items() if name.startswith("personal.")}
    return Made(
        files=files_of([*divided, *measured, *reports]),
        counts=counts | counts_of(measured) | personal | read | counts_of(reports),
        incomplete=lost,
    )


def _divide(
    attempt: Attempt,
    raw: RawDocuments,
    judged: Sequence[ShardRecord],
    compared: ShardRecord,
    searched: Mapping[str, ShardRecord],
    config: CleanConfig,
    compute: Compute,
    forgotten: Forgotten,
) -> list[ShardRecord]:
    """Each shard that was judged whole, as it will stay: kept documents, dropped ones with their reasons."""
    from pipeline.corpus import clean_shards

    unsearched = {record.identity for record in searched.values() if record.lost is not None}
    return compute.map_shards(
        attempt,
        "divide",
        {
            record.identity: clean_shards.Dividing(
                raw,
                attempt,
                record,
                compared,
                searched.get(record.identity),
                config.paragraphs_once,
                undecided_tags(config.languages),
                forgotten,
            )
            for record in judged
            if record.lost is None and record.identity not in unsearched
        },
        clean_shards.divide,
    )


def _find_boilerplate(
    attempt: Attempt,
    raw: RawDocuments,
    shards: Sequence[str],
    config: CleanConfig,
    compute: Compute,
    forgotten: Forgotten,
) -> list[ShardRecord]:
    """What was found out on the sites' lines; the last record has those that are taken out of pages."""
    from pipeline.corpus import boilerplate

    sizing = boilerplate.Sizing(raw, forgotten)
    sized = compute.map_shards(attempt, "sites", {"all": sizing}, boilerplate.measure_sites)
    counted = compute.map_shards(
        attempt,
        "lines",
        {shard: boilerplate.Counting(raw, shard, attempt, sized[0], forgotten) for shard in shards},
        boilerplate.count,
    )
    choosing = boilerplate.Choosing(
        attempt, tuple(counted), config.boilerplate_pages, config.boilerplate_share
    )
    common = compute.map_shards(attempt, "boilerplate", {"all": choosing}, boilerplate.choose)
    return sized + counted + common


def _measure_rules(
    attempt: Attempt,
    raw: RawDocuments,
    shards: Sequence[str],
    common: ShardRecord,
    known: Mapping[str, "LanguageRules"],
    config: CleanConfig,
    compute: Compute,
    forgotten: Forgotten,
) -> tuple[list[ShardRecord], list[ShardRecord]]:
    """For the wanted languages without rules: samples of documents, and the rules measured on them."""
    from pipeline.corpus import clean_shards, measured_rules

    unknown = tuple(sorted({primary(language) for language in config.languages} - set(known)))
    if not unknown:
        return [], []
    sampled = compute.map_shards(
        attempt,
        "sample",
        {shard: clean_shards.Sampling(raw, attempt, shard, common, unknown, forgotten) for shard in shards},
        clean_shards.sample,
    )
    measured = compute.map_shards(
        attempt,
        "measure",
        {language: measured_rules.Measuring(attempt, tuple(sampled), language) for language in unknown},
        measured_rules.measure,
    )
    return sampled, measured


def _sign_earlier(
    attempt: Attempt, earlier: Sequence[Documents], config: CleanConfig, compute: Compute
) -> list[ShardRecord]:
    """By what the documents of other runs are compared: cheap to make anew, and by this run's settings."""
    from pipeline.corpus import clean_shards

    shards = {
        f"{documents.key}-{shard}": clean_shards.Signing(documents, shard, config)
        for documents in earlier
        for shard in (Path(name).stem for name in documents.names("kept/"))
    }
    return compute.map_shards(attempt, "earlier", shards, clean_shards.sign) if shards else []


def _search(
    attempt: Attempt,
    judged: list[ShardRecord],
    compared: ShardRecord,
    config: CleanConfig,
    compute: Compute,
) -> tuple[dict[str, ShardRecord], dict[str, int]]:
    """The reports on contamination by shard, and how much there was to compare with; without sets nothing."""
    if not config.contamination.sets:
        return {}, {}
    from pipeline.corpus import contamination_shards

    index, read = contamination_shards.publish_index(attempt, config.contamination)
    searched = compute.map_shards(
        attempt,
        "contamination",
        {
            record.identity: contamination_shards.Searching(
                attempt, record, compared, index, config.contamination, config.paragraphs_once
            )
            for record in judged
            if record.lost is None
        },
        contamination_shards.search,
    )
    return {record.identity: record for record in searched}, dict(read)
