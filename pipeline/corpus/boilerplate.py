"""Lines that stand on many pages of a site: menus, notices, footers. They are taken out before the rules.

Vinagre et al. (2026, arXiv:2609.07699) took short and repeated lines out before the filters and kept 19 %
more documents. Here a line goes that is on a given share of a site's pages; headings, tables and code
stay, for on the pages of a manual they repeat themselves for good reasons.

A book is no site, and neither is a folder of articles: what many of them have in common, such as the line
CHAPTER I or Abstract, is how such works are built. So nothing is taken out of books, and of articles only
where they are pages of a site.

Of a large site a sample of its pages tells as much as all of them, so of each site at most some 300 are
counted, by a hash of their id. Lines are counted by their hash: in Parquet files, grouped by DuckDB within
a fixed limit of memory. What is counted does not depend on how pages are spread over files.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.duplicates import connect
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.forgotten import Forgotten, urls_in
from pipeline.corpus.prose import BLANK_LINES, is_marked, lines_with_code
from pipeline.corpus.tables import Row, outputs_of, read_documents, read_rows, write_rows
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, ShardRecord

LINES = pa.schema([("site", pa.string()), ("hash", pa.int64())])
"""A row for every page and different line on it; hash 0 stands for the page itself."""
LARGE = pa.schema([("site", pa.string()), ("pages", pa.int64())])
COMMON = pa.schema([("site", pa.string()), ("hash", pa.int64()), ("pages", pa.int64())])
REMOVED = pa.schema([("site", pa.string()), ("line", pa.string()), ("pages", pa.int64())])
"""What was taken out of a shard's documents: the line, and of how many."""
COUNTED = ("id", "source", "url", "kind", "text")
"""The columns that are read to count lines."""
PAGE = 0
SAMPLED_PAGES = 300
"""Of a site; a share of three tenths is then known to three hundredths."""
SITE = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
BATCH_ROWS = 100_000
DIGITS = re.compile(r"\d+")

CommonLines = Mapping[str, frozenset[int]]
"""Site → hashes of the lines that are taken out of its pages."""


@dataclass(frozen=True)
class Sizing:
    """All raw shards, whose sites are to be measured."""

    raw: RawDocuments
    forgotten: Forgotten


@dataclass(frozen=True)
class Counting:
    """One raw shard whose lines are to be counted."""

    raw: RawDocuments
    shard: str
    attempt: Attempt
    large: ShardRecord
    """The sites that are too large to be counted whole."""
    forgotten: Forgotten


@dataclass(frozen=True)
class Choosing:
    """All lines, of which those on many pages of a site are chosen."""

    attempt: Attempt
    counted: tuple[ShardRecord, ...]
    pages: int
    share: float


def measure_sites(work: Sizing, output: ShardOutput) -> dict[str, int]:
    """Write which sites have more pages than are counted, and how many."""
    urls = urls_in(work.raw, "raw/") if work.forgotten else ()
    left_out = sorted({url for url in urls if work.forgotten.rule_for(url) is not None})
    with tempfile.TemporaryDirectory() as scratch, connect(Path(scratch)) as database:
        database.register("left_out", pa.table({"url": pa.array(left_out, pa.string())}))
        found = database.execute(
            """
            SELECT site, count(*) AS pages FROM (
                SELECT coalesce(host, source) AS site FROM (
                    SELECT source, kind, nullif(regexp_extract(url, ?, 1), '') AS host FROM read_parquet(?)
                    ANTI JOIN left_out USING (url)
                ) WHERE kind <> 'book' AND (kind <> 'article' OR host IS NOT NULL)
            ) GROUP BY site HAVING count(*) > ?
            """,
            [SITE.pattern, [str(path) for path in work.raw.paths("raw/")], SAMPLED_PAGES],
        ).fetchall()
    rows = [{"site": site, "pages": pages} for site, pages in found]
    write_rows(output.path("large.parquet"), rows, LARGE)
    return {"large": len(found)}


def count(part: Counting, output: ShardOutput) -> dict[str, int]:
    """Write the lines of each of the shard's pages, by hash; of a large site those of a sample of pages."""
    large = {row["site"]: row["pages"] for row in read_rows(outputs_of(part.attempt, [part.large]))}
    documents = (
        row
        for row in read_documents(part.raw.path(f"raw/{part.shard}.parquet"), COUNTED)
        if (site := site_of(row)) is not None
        and _is_sampled(row["id"], large.get(site))
        and part.forgotten.rule_for(row["url"]) is None
    )
    written = 0
    with pq.ParquetWriter(output.path(f"lines/{part.shard}.parquet"), LINES, compression="zstd") as file:
        for batch in _batches(documents):
            file.write_table(batch)
            written += len(batch)
    return {"lines": written}


def choose(work: Choosing, output: ShardOutput) -> dict[str, int]:
    """Write which lines stand on `pages` pages of their site at least, and on `share` of them."""
    files = [str(path) for path in outputs_of(work.attempt, work.counted)]
    with tempfile.TemporaryDirectory() as scratch, connect(Path(scratch)) as database:
        found = database.execute(
            f"""
            WITH counted AS (
                SELECT site, hash, count(*) AS pages FROM read_parquet(?) GROUP BY site, hash
                HAVING count(*) >= ? OR hash = {PAGE}
            )
            SELECT line.site, line.hash, line.pages FROM counted AS line
            JOIN counted AS page ON page.site = line.site AND page.hash = {PAGE}
            WHERE line.hash <> {PAGE} AND line.pages >= ? * page.pages
            """,
            [files, work.pages, work.share],
        ).fetchall()
    write_rows(
        output.path("common.parquet"),
        ({"site": site, "hash": line, "pages": pages} for site, line, pages in found),
        COMMON,
    )
    return {"common": len(found)}


def read_common(paths: Sequence[Path]) -> CommonLines:
    """What `choose` wrote."""
    found: dict[str, set[int]] = {}
    for row in read_rows(paths):
        found.setdefault(row["site"], set()).add(row["hash"])
    return {site: frozenset(hashes) for site, hashes in found.items()}


@dataclass(frozen=True)
class Stripped:
    """A text without the lines that its site repeats."""

    text: str
    removed: tuple[str, ...]
    """The lines taken out, in the text's order."""


def strip_lines(text: str, common: frozenset[int]) -> Stripped:
    """The text without the lines whose hash is common to its site's pages."""
    kept, removed = [], []
    for line, code in lines_with_code(text):
        if not code and is_prose(line) and line_hash(line) in common:
            removed.append(line.strip())
        else:
            kept.append(line)
    if not removed:
        return Stripped(text, ())
    return Stripped(BLANK_LINES.sub("\n\n", "\n".join(kept)).strip(), tuple(removed))


def removed_rows(removed: Mapping[tuple[str, str], int]) -> Iterator[dict[str, str | int]]:
    """(Site, line) → pages, as rows of the table."""
    return ({"site": site, "line": line, "pages": pages} for (site, line), pages in removed.items())


def site_of(row: Row) -> str | None:
    """The host of a page, or else the source; None for a work of its own (`measure_sites` says the same)."""
    found = SITE.match(row["url"])
    host = found[1] if found else ""
    if row["kind"] == "book" or (row["kind"] == "article" and not host):
        return None
    return host or row["source"]


def prose_lines(text: str) -> Iterator[str]:
    """The lines that may be taken out: no headings, tables or code."""
    return (line for line, code in lines_with_code(text) if not code and is_prose(line))


def line_hash(line: str) -> int:
    """64 bits of a line, in which neither spaces nor numbers count: "Page 3 of 7" is "Page 4 of 7"."""
    plain = DIGITS.sub("0", " ".join(line.split()))
    digest = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _is_sampled(identity: str, pages: int | None) -> bool:
    return pages is None or int(identity[:8], 16) * pages < SAMPLED_PAGES * 2**32


def is_prose(line: str) -> bool:
    """Whether a line outside of code is text, and no heading and no row of a table."""
    return bool(line) and not line.isspace() and not is_marked(line)


def _batches(documents: Iterable[Row]) -> Iterator[pa.Table]:
    sites: list[str | None] = []
    hashes: list[int] = []
    for document in documents:
        lines = set(map(line_hash, set(prose_lines(document["text"]))))
        found = [PAGE, *sorted(lines - {PAGE})]
        sites += [site_of(document)] * len(found)
        hashes += found
        if len(hashes) >= BATCH_ROWS:
            yield pa.table({"site": sites, "hash": hashes}, LINES)
            sites, hashes = [], []
    yield pa.table({"site": sites, "hash": hashes}, LINES)
