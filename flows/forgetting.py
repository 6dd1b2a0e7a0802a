"""What in a store holds pages that are to be forgotten, and what making it again without them takes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crawler.site import Site
from crawler.urls import canonical, is_suffix
from flows.left_out import SOURCES
from flows.references import KINDS
from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.extract_shards import CRAWL
from pipeline.corpus.forgotten import REASON, Forgotten, columns_in, rules_of, urls_in
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.pages import STORED, Pages
from pipeline.corpus.sources import Files
from pipeline.errors import InputError
from pipeline.store import Artifact, Record, Store
from pipeline.store.store import names_by_base
from pipeline.tokens.encode import Tokens
from pipeline.tracking.destination import Destination
from pipeline.tracking.registry import Registered, RegistryError, registered

TOLD_LINES = 5
"""Of a list's faults."""


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
    found = dict.fromkeys(rule for word in words for rule in _checked(word))
    faults = []
    for number, line in _lines(listed) if listed is not None else ():
        try:
            found |= dict.fromkeys(_checked(line))
        except InputError as error:
            faults.append(f"{listed}, line {number}: {error}")
    if faults:
        more = [f"  and {len(faults) - TOLD_LINES} lines more"] if len(faults) > TOLD_LINES else []
        raise ForgetListError("\n".join(faults[:TOLD_LINES] + more))
    if listed is not None and not found:
        raise ForgetListError(f"{listed} names nothing; write a host or a URL a line")
    return list(found)


def _checked(text: str) -> tuple[str, ...]:
    """The rules that a text stands for; a page is also called as the crawl calls it, without what only says
    from where somebody came."""
    rules = rules_of(text)
    for rule in rules:
        if "/" not in rule and "#" not in rule and is_suffix(rule):
            raise WholeSuffixError(
                f"{rule} is nobody's site: names of many others end so; name the site, such as example.{rule}"
            )
    page = canonical(rules[0]) if not rules[0].endswith("*") else None
    return tuple(dict.fromkeys([*rules, *(rules_of(page) if page else ())]))


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
    """That are registered, and were made from it or from what is no longer in this store."""
    unknown: tuple[str, ...] = ()
    """`stage/key` of what was made from documents that are no longer in the store."""
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
    leads_on: dict[str, bool | None] = {}
    for base, record in records.items():
        kind = KINDS.get(record.stage)
        if kind is not None and (counts := _counts(kind(store.storage, record.key), forgotten)) is not None:
            held[base], leads_on[base] = counts.total(), counts["kept"] > 0
            for source in _files_behind(record) if counts["of-files"] else ():
                held[source] = held.get(source, 0) + counts["of-files"]
    made_from = {base: _is_made_from(base, records, leads_on) for base in records}
    holders = [
        Holder(base, tuple(names.get(base, ())), held.get(base), records[base].seconds)
        for base in sorted(records, key=_along_the_road)
        if held.get(base) or made_from[base]
    ]
    sources = tuple(each for each in holders if _is_source(each.artifact))
    made = tuple(each for each in holders if not _is_source(each.artifact))
    unknown = tuple(base for base in sorted(records, key=_along_the_road) if made_from[base] is None)
    there = {base for base, found in made_from.items() if found is False}
    models, why_unknown = _registered(destination, there)
    return Aftermath(sources, made, models, unknown, why_unknown)


def _counts(artifact: Artifact, forgotten: Forgotten) -> Counter[str] | None:
    """How many documents it has that are left out: `kept` and `of-files` of those that lead on, `dropped` of
    the others. None of an artifact without documents of its own."""
    found: Counter[str] = Counter()
    if isinstance(artifact, Pages):
        urls = (line["url"] for line in artifact.log() if line["outcome"] in STORED)
        found["kept"] = _matching(urls, forgotten)
    elif isinstance(artifact, RawDocuments):
        for url, source in columns_in(artifact, "raw/", ["url", "source"]):
            if forgotten.rule_for(url) is not None:
                found["kept" if source == CRAWL else "of-files"] += 1
    elif isinstance(artifact, Documents):
        found["kept"] = _matching(urls_in(artifact, "kept/"), forgotten)
        dropped = columns_in(artifact, "dropped/", ["url", "reason"])
        found["dropped"] = _matching((url for url, reason in dropped if reason != REASON), forgotten)
    elif isinstance(artifact, Corpus | Tokens):
        found["kept"] = _matching(urls_in(artifact, "train/", "held-out/"), forgotten)
    else:
        return None
    return found


def _matching(urls: Iterable[str], forgotten: Forgotten) -> int:
    return sum(forgotten.rule_for(url) is not None for url in urls)


def _files_behind(record: Record) -> Iterator[str]:
    return (f"{each.stage}/{each.key}" for each in record.inputs.values() if each.stage == Files.stage)


def _is_made_from(base: str, records: dict[str, Record], leads_on: dict[str, bool | None]) -> bool | None:
    """Whether it was made, over whatever stages, from documents that are to be forgotten; None if what it was
    made from is no longer there."""
    if base not in leads_on:
        record = records.get(base)
        if record is None:
            return False if _is_source(base) or base.partition("/")[0] == Site.stage else None
        below = [
            _is_made_from(f"{each.stage}/{each.key}", records, leads_on) for each in record.inputs.values()
        ]
        leads_on[base] = True if True in below else None if None in below else False
    return leads_on[base]


def _along_the_road(base: str) -> tuple[int, str]:
    stages = list(KINDS)
    stage = base.partition("/")[0]
    return stages.index(stage) if stage in stages else len(stages), base


def _is_source(base: str) -> bool:
    return issubclass(KINDS.get(base.partition("/")[0], Artifact), SOURCES)


def _registered(destination: Destination, clean: set[str]) -> tuple[tuple[Registered, ...], str | None]:
    """All but those that are known to have been made without it."""
    if not destination.exists():
        return (), f"there is no MLflow database at {destination.uri}; name another with --mlflow"
    try:
        return tuple(each for each in registered(destination) if each.artifact not in clean), None
    except RegistryError as error:
        return (), str(error)
