"""Looking into a store: records, lineage, what was dropped; and a configuration as TOML."""

import posixpath
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import tomlkit
from tomlkit.items import Table

from flows.display import counted, duration, figures_line
from flows.figures import counted_as
from pipeline.config import Config
from pipeline.corpus.clean import Documents
from pipeline.errors import InputError
from pipeline.models.start import StartModel
from pipeline.store import Artifact, JournalReader, Record, Storage, read_record
from pipeline.store.discard import RUNS

FILES = (".parquet", ".warc.gz", ".jsonl", ".cdxj", ".html")
"""Files that are looked into with other tools."""
NAMED_FILES = 5
"""Of a kind, so many are named one by one."""
BY_CONTENT = ("rule_files", "earlier", "good", "bad")
"""Settings that enter a key by what they name holds, and so are not in the record's identity."""
FROM_OUTSIDE = {StartModel.stage: ("model", "revision")}
"""The same of single stages."""
DROPPED = "dropped/"
"""The logical folder of the documents that a stage dropped."""
OF_EARLIER = "-earlier"
"""How the reasons end of what another run has already."""


def commands(storage: Storage) -> dict[str, list[str]]:
    """`stage/key` → the words of the command whose run made or used it last, as far as journals tell."""
    found = {}
    for run in sorted(storage.list(RUNS)):
        words: list[str] = []
        for event in JournalReader(storage, f"{RUNS}/{run}").read():
            if event["kind"] == "flow":
                words = shlex.split(event.get("command") or "")
            elif words and "key" in event:
                found[f"{event['stage']}/{event['key']}"] = words
    return found


@dataclass(frozen=True)
class Ancestor:
    """An artifact with those that it was made from."""

    stage: str
    key: str
    role: str
    """The name of the input that it was to the artifact made from it; empty for the first."""
    record: Record | None
    """None if it is no longer in the store."""
    inputs: list["Ancestor"]
    repeated: bool = False
    """True if its own inputs are shown elsewhere in the tree."""


def lineage(storage: Storage, stage: str, key: str) -> Ancestor:
    """The artifact, what it was made from, and so on to the beginning. Each is opened once."""
    return _ancestor(storage, stage, key, "", {})


def _ancestor(storage: Storage, stage: str, key: str, role: str, seen: dict[str, Record | None]) -> Ancestor:
    base = f"{stage}/{key}"
    if (repeated := base in seen) is False:
        seen[base] = read_record(storage, base)
    record = seen[base]
    if record is None or repeated:
        return Ancestor(stage, key, role, record, [], repeated=bool(record and record.inputs))
    inputs = [_ancestor(storage, given.stage, given.key, name, seen) for name, given in record.inputs.items()]
    return Ancestor(stage, key, role, record, inputs)


def record_lines(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """Label and value of what a user wants to know of an artifact first."""
    record = artifact.record
    yield "artifact", f"{record.stage}/{record.key}"
    yield "made", f"{record.started}, took {duration(record.seconds)}, commit {record.commit or 'unknown'}"
    seeds = {"seeds_file": _seeds_file(record)} if record.config.get("seeds_file") else {}
    outside = FROM_OUTSIDE.get(record.stage, BY_CONTENT)
    named = {name: record.config[name] for name in outside if record.config.get(name)}
    settings = ", ".join(f"{k}={v}" for k, v in {**record.identity, **named, **seeds}.items())
    yield "settings", f"other than the defaults: {settings}" if settings else "all at their defaults"
    if record.counts:
        yield "counts", figures_line({counted_as(record.stage, k): v for k, v in record.counts.items()})
    if record.figures:
        yield "figures", figures_line(record.figures)
    compute = dict(record.compute)
    if parts := compute.pop("seconds", None):  # `took` is the last start alone
        told = ", ".join(f"{part.replace('_', ' ')} {duration(each)}" for part, each in parts.items())
        yield "time", f"{duration(sum(parts.values()))} over all starts: {told}"
    if compute:
        yield "compute", ", ".join(f"{k}={v}" for k, v in compute.items())
    size = sum(file.bytes for file in record.files.values())
    folders = {posixpath.dirname(file.path) for file in record.files.values()}
    kinds = Counter(name.partition("/")[0] for name in record.files if "/" in name)
    listed = ", ".join(f"{kind}/ {count}" for kind, count in sorted(kinds.items()))
    if "dropped" in kinds:
        yield "dropped", "`moinho corpus dropped` lists those documents, each with its reason"
    for folder, other in (("contamination", "example"), ("overlap", "held-out document")):
        if folder in kinds:
            yield "overlap", f"{folder}/ has which {other} each document shares words with, and which words"
    if record.figures:
        yield "meaning", "--figures says what each figure means"
    yield "files", f"{len(record.files)}, {size / 1e6:,.1f} MB" + (f" ({listed})" if listed else "")
    where = posixpath.join(artifact.base, posixpath.commonpath(folders) if folders else "")
    yield "where", artifact.storage.full(where)
    for kind, path in _files(record):
        yield kind, artifact.storage.full(posixpath.join(artifact.base, path))


def _seeds_file(record: Record) -> str:
    """The file that seeds were read from, and how many there were: its content is part of the key."""
    count = record.counts.get("seeds")
    told = f" ({counted(count, 'seed')} in all)" if count is not None else ""
    return f"{record.config['seeds_file']}{told}"


def _files(record: Record) -> Iterator[tuple[str, str]]:
    """Kind (such as `kept/`) and where its files are, which lie in a folder a shard: the path of each of a
    few files to look into, a pattern of more and of Parquet files."""
    places: dict[tuple[str, str], set[str]] = {}
    for name, file in record.files.items():
        for suffix in FILES:
            if name.endswith(suffix):
                folder, slash, _ = name.partition("/")
                places.setdefault((folder + slash, suffix), set()).add(file.path)
    for (kind, suffix), paths in sorted(places.items()):
        split = [path.split("/") for path in paths]
        if suffix != ".parquet" and len(paths) <= NAMED_FILES:
            for number, path in enumerate(sorted(paths)):
                yield kind if not number else "", path
        elif len({len(parts) for parts in split}) == 1:
            same = ["*" if len(set(parts)) > 1 else parts[0] for parts in zip(*split, strict=True)]
            yield kind, "/".join([*same[:-1], f"*{suffix}"])


@dataclass(frozen=True)
class Dropped:
    """A document that was not kept."""

    id: str
    source: str
    """`crawl`, or the name of one of [[sources]]."""
    url: str
    """Where there is none: source/file, behind # the byte that a line of JSONL begins at, or the row of a
    Parquet file; of what has an id source#id."""
    title: str
    reason: str
    value: float | None
    """What was measured, where the reason is a measure."""
    threshold: float | None
    """The limit that it missed."""
    detail: str
    """Such as the language; of a duplicate the URL of the document that was kept in its place, with the name
    of its run where that is an earlier one."""
    text: str | None = None
    """What it says, if that was looked up (`with_texts`)."""


class NothingDroppedError(InputError):
    """The artifact is of a stage that drops no pages."""

    remedy = "Look at what clean made, such as quickstart/documents, or at what extract made, quickstart/raw."


def dropped_pages(artifact: Artifact, names: Mapping[str, Sequence[str]]) -> list[Dropped]:
    """All documents that `extract` or `clean` dropped, by id; `names` are those of the store by `stage/key`.

    Raises NothingDroppedError.
    """
    import pyarrow.parquet as pq

    if not (paths := artifact.paths(DROPPED)):
        raise NothingDroppedError(
            f"{artifact.base} has no list of dropped pages: the stages extract and clean have one, "
            "such as quickstart/documents"
        )
    columns = [field.name for field in fields(Dropped) if field.name != "text"]
    found = [Dropped(**row) for path in paths for row in pq.read_table(path, columns=columns).to_pylist()]
    inputs = artifact.record.inputs.values()
    earlier = [Documents(artifact.storage, each.key) for each in inputs if each.stage == Documents.stage]
    urls = {page.id: page.url for page in found} | _kept_urls(artifact)
    before = {
        id: f"{url} (in {(names.get(documents.base) or [documents.base])[0]})"
        for documents in earlier
        if documents.exists()
        for id, url in _kept_urls(documents).items()
    }
    told = [
        replace(
            page, detail=(before if page.reason.endswith(OF_EARLIER) else urls).get(page.detail, page.detail)
        )
        for page in found
    ]
    return sorted(told, key=lambda page: page.id)


def with_texts(artifact: Artifact, pages: Sequence[Dropped]) -> list[Dropped]:
    """The same documents with what they say."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = pc.field("id").isin([page.id for page in pages])
    tables = (pq.read_table(path, columns=["id", "text"], filters=wanted) for path in artifact.paths(DROPPED))
    texts = {row["id"]: row["text"] for table in tables for row in table.to_pylist()}
    return [replace(page, text=texts[page.id]) for page in pages]


def _kept_urls(documents: Artifact) -> dict[str, str]:
    """The URL of each document that was kept, by id."""
    import pyarrow.parquet as pq

    tables = (pq.read_table(path, columns=["id", "url"]).to_pylist() for path in documents.paths("kept/"))
    return {row["id"]: row["url"] for rows in tables for row in rows}


def sample_by_reason(pages: Sequence[Dropped], most: int) -> list[Dropped]:
    """At most so many of the pages, of every reason as many as of the others as far as there are.

    Ids are hashes, so that the first of a reason are as good as drawn by chance.
    """
    seen: Counter[str] = Counter()
    ranked = []
    for page in sorted(pages, key=lambda page: (page.reason, page.id)):
        ranked.append((seen[page.reason], page))
        seen[page.reason] += 1
    chosen = sorted(ranked, key=lambda item: (item[0], item[1].reason))[:most]
    return sorted((page for _, page in chosen), key=lambda page: (page.reason, page.id))


def as_toml(config: Config) -> str:
    """The resolved configuration as TOML; a value that is not set is a comment."""
    document = tomlkit.document()
    _fill(document, {name: getattr(config, name) for name in type(config).model_fields})
    return tomlkit.dumps(document)


def _fill(table: tomlkit.TOMLDocument | Table, values: Mapping[str, Any]) -> None:
    """Single values first, then sections: TOML has no way back out of a section."""
    sections = {name: value for name, value in values.items() if isinstance(value, Config | Mapping)}
    lists = {name: value for name, value in values.items() if _is_list_of_sections(value)}
    for name, value in values.items():
        if value is None:
            table.add(tomlkit.comment(f"{name} is not set"))
        elif name not in sections and name not in lists:
            table.add(name, _array(value) if isinstance(value, tuple | list) else value)
    for name, section in sections.items():
        inner = tomlkit.table()
        told = section.only_told if isinstance(section, Config) else frozenset()
        inside = section.resolved() if isinstance(section, Config) else section
        for key in [key for key in inside if key in told]:
            inner.add(tomlkit.comment(f"{key} is {inside[key]}, and cannot be set"))
        _fill(inner, {key: value for key, value in inside.items() if key not in told})
        table.add(name, inner)
    for name, several in lists.items():
        tables = tomlkit.aot()
        for each in several:
            inner = tomlkit.table()
            _fill(inner, each.resolved() if isinstance(each, Config) else each)
            tables.append(inner)
        table.add(name, tables)


def _array(values: Sequence[Any]) -> tomlkit.items.Item:
    """From its text: item by item tomlkit takes time with the square of their number, 24 s for 9,000."""
    return tomlkit.value(f"[{', '.join(tomlkit.item(value).as_string() for value in values)}]")


def _is_list_of_sections(value: Any) -> bool:
    several = isinstance(value, tuple | list) and bool(value)
    return several and all(isinstance(each, Config | Mapping) for each in value)
