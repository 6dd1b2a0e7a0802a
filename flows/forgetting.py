"""What in a store holds pages that are to be forgotten, and what making it again without them takes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from crawler.urls import is_suffix
from flows.references import KINDS, names_by_base
from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.extract_shards import CRAWL
from pipeline.corpus.forgotten import REASON, Forgotten, rule_of, urls_in
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.pages import STORED, Pages
from pipeline.corpus.sources import Files
from pipeline.errors import InputError
from pipeline.store import Artifact, Record, Store
from pipeline.tracking.destination import Destination
from pipeline.tracking.registry import Registered, RegistryError, registered

TOLD_LINES = 5
"""Of a list's faults."""
SOURCES: tuple[type[Artifact], ...] = (Pages, Files, RawDocuments)
"""Hold pages as they came; they stay as they are, and what is made from them from now on leaves these out."""


class ForgetListError(InputError):
    """A list of what is to be forgotten cannot be read, or has a line that is no host, URL or place."""

    remedy = "Correct the file that --list names: a host or URL a line, comments begin with #."


class WholeSuffixError(InputError):
    """What was named is no site but an ending under which anyone may have one."""

    remedy = "Name the site itself, such as example.com.br."


def rules_from(words: Sequence[str], listed: Path | None) -> list[str]:
    """The rules that a user names, each once, in order.

    Raises NoRuleError, WholeSuffixError, ForgetListError.
    """
    found = dict.fromkeys(_checked(word) for word in words)
    faults = []
    for number, line in _lines(listed) if listed is not None else ():
        try:
            found[_checked(line)] = None
        except InputError as error:
            faults.append(f"{listed}, line {number}: {error}")
    if faults:
        more = [f"  and {len(faults) - TOLD_LINES} lines more"] if len(faults) > TOLD_LINES else []
        raise ForgetListError("\n".join(faults[:TOLD_LINES] + more))
    if listed is not None and not found:
        raise ForgetListError(f"{listed} names nothing; write a host or a URL a line")
    return list(found)


def _checked(text: str) -> str:
    rule = rule_of(text)
    if is_suffix(rule):
        raise WholeSuffixError(
            f"{rule} is nobody's site: names of many others end so; name the site, such as example.{rule}"
        )
    return rule


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ForgetListError(
            f"--list {path} cannot be read ({error}); it is a UTF-8 text file with a host or URL a line"
        ) from error
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            yield number, line


@dataclass(frozen=True)
class Holder:
    """An artifact that holds something which is to be forgotten, or was made from it."""

    artifact: str
    """`stage/key`."""
    names: tuple[str, ...]
    documents: int | None
    """That are in it; None of what was made from such documents, as a model is."""
    seconds: float
    """That making it took."""


@dataclass(frozen=True)
class Aftermath:
    """What an exclusion is about, in a store."""

    sources: tuple[Holder, ...]
    """Pages and files as they came."""
    made: tuple[Holder, ...]
    """From the cleaned documents on: what a run makes again without them."""
    models: tuple[Registered, ...]
    unknown_models: str | None = None
    """Why it cannot be told which models are registered."""

    @property
    def seconds_by_run(self) -> dict[str, float]:
        """Run → what its part took when it was made, which making it again will take about."""
        found: defaultdict[str, float] = defaultdict(float)
        for holder in self.made:
            for run in {name.rpartition("/")[0] for name in holder.names}:
                found[run] += holder.seconds
        return dict(found)


def aftermath(store: Store, forgotten: Forgotten, destination: Destination) -> Aftermath:
    """Look through the store for what the rules are about; nothing is changed."""
    records = {f"{record.stage}/{record.key}": record for record in store.records()}
    names = names_by_base(store.named())
    held: dict[str, int] = {}
    leads_on: dict[str, bool] = {}
    for base, record in records.items():
        kind = KINDS.get(record.stage)
        if kind is not None and (counts := _counts(kind(store.storage, record.key), forgotten)) is not None:
            held[base], leads_on[base] = counts.total(), counts["kept"] > 0
            for source in _files_behind(record) if counts["of-files"] else ():
                held[source] = held.get(source, 0) + counts["of-files"]
    holders = [
        Holder(base, tuple(names.get(base, ())), held.get(base), records[base].seconds)
        for base in sorted(records, key=_along_the_road)
        if held.get(base) or _is_made_from(base, records, leads_on)
    ]
    sources = tuple(each for each in holders if _is_source(each.artifact))
    made = tuple(each for each in holders if not _is_source(each.artifact))
    models, unknown = _registered(destination, [each.artifact for each in made])
    return Aftermath(sources, made, models, unknown)


def _counts(artifact: Artifact, forgotten: Forgotten) -> Counter[str] | None:
    """How many documents it has that are left out: `kept` and `of-files` of those that lead on, `dropped` of
    the others. None of an artifact without documents of its own."""
    found: Counter[str] = Counter()
    if isinstance(artifact, Pages):
        urls = (line["url"] for line in artifact.log() if line["outcome"] in STORED)
        found["kept"] = _matching(urls, forgotten)
    elif isinstance(artifact, RawDocuments):
        for url, source in _rows(artifact, "raw/", "source"):
            if forgotten.rule_for(url) is not None:
                found["kept" if source == CRAWL else "of-files"] += 1
    elif isinstance(artifact, Documents):
        found["kept"] = _matching(urls_in(artifact, "kept/"), forgotten)
        dropped = (url for url, reason in _rows(artifact, "dropped/", "reason") if reason != REASON)
        found["dropped"] = _matching(dropped, forgotten)
    elif isinstance(artifact, Corpus):
        urls = (url for split in ("train/", "held-out/") for url in urls_in(artifact, split))
        found["kept"] = _matching(urls, forgotten)
    else:
        return None
    return found


def _matching(urls: Iterable[str], forgotten: Forgotten) -> int:
    return sum(forgotten.rule_for(url) is not None for url in urls)


def _rows(artifact: Artifact, prefix: str, column: str) -> Iterator[tuple[str, str]]:
    """URL and another column of a table."""
    for path in artifact.paths(prefix):
        table = pq.read_table(path, columns=["url", column])
        yield from zip(table["url"].to_pylist(), table[column].to_pylist(), strict=True)


def _files_behind(record: Record) -> Iterator[str]:
    return (f"{each.stage}/{each.key}" for each in record.inputs.values() if each.stage == Files.stage)


def _is_made_from(base: str, records: dict[str, Record], leads_on: dict[str, bool]) -> bool:
    """Whether it was made, over whatever stages, from documents that are to be forgotten."""
    if base not in leads_on:
        record = records.get(base)
        inputs = () if record is None else record.inputs.values()
        leads_on[base] = any(_is_made_from(f"{each.stage}/{each.key}", records, leads_on) for each in inputs)
    return leads_on[base]


def _along_the_road(base: str) -> tuple[int, str]:
    stages = list(KINDS)
    stage = base.partition("/")[0]
    return stages.index(stage) if stage in stages else len(stages), base


def _is_source(base: str) -> bool:
    return issubclass(KINDS.get(base.partition("/")[0], Artifact), SOURCES)


def _registered(destination: Destination, bases: list[str]) -> tuple[tuple[Registered, ...], str | None]:
    try:
        return tuple(registered(destination, set(bases))), None
    except RegistryError as error:
        return (), str(error)
