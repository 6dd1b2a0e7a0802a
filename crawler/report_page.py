"""The report as a page: one HTML file, its pictures in it as SVG, that loads nothing from elsewhere."""

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.figure import Figure

from crawler.outcomes import ERROR, REFUSED, TRAP, meaning_of, of_kind, pages_in, recrawled
from crawler.progress import counts_line
from crawler.report import SAMPLE_PAGES, SHOWN, Facts, Timeline
from pipeline.tracking.charts import COLOUR, bars
from pipeline.tracking.report_pages import drawing, picture, table, whole_page

NAME_CHARACTERS = 50
"""Of a name that somebody else chose, so many are shown."""
URL_CHARACTERS = 200
"""The same of a URL, and of what is told of it."""


def page(facts: Facts, name: str) -> str:
    """The whole file; `name` is that of the crawl in commands."""
    with drawing():
        parts = [
            _summary(facts),
            _outcomes(facts),
            _answers(facts),
            _refusals(facts),
            _examples(facts, name),
            _hosts(facts),
            _course(facts),
        ]
    return whole_page("Crawl report", parts)


# --- sections ---


def _summary(facts: Facts) -> str:
    pages = pages_in(facts.outcomes)
    rows = [
        ("pages", f"{pages:,}"),
        ("URLs tried", f"{facts.outcomes.total():,}"),
        ("URLs left waiting", f"{facts.waiting:,}"),
        ("hosts asked", f"{facts.hosts.asked:,}"),
        ("bytes received", f"{facts.bytes:,} ({facts.bytes / 1e6:,.1f} MB)"),
        ("seconds of crawling", f"{facts.seconds:,.1f}"),
        ("pages per second", f"{pages / facts.seconds:,.1f}" if facts.seconds else "-"),
        ("first and last page", _span(facts.timeline)),
    ]
    if again := counts_line(recrawled(facts.outcomes)):
        rows.insert(1, ("pages of the crawl before", again))
    return "<h1>Crawl report</h1>" + table(("", ""), rows)


def _outcomes(facts: Facts) -> str:
    rows = [
        (name, f"{count:,}", meaning_of(name).told)
        for name, count in sorted(facts.outcomes.items(), key=lambda each: (-each[1], each[0]))
    ]
    parts = ["<h2>What became of the URLs</h2>", table(("outcome", "URLs", "meaning"), rows)]
    errors, traps = of_kind(facts.outcomes, ERROR), of_kind(facts.outcomes, TRAP)
    parts.append(_chart(errors, "errors, by kind", "No URL ended in an error."))
    parts.append(_chart(traps, "traps, by name", "No trap was met."))
    parts.append(_largest(facts.hosts.by_traps, "hosts with most URLs of traps"))
    return "\n".join(parts)


def _answers(facts: Facts) -> str:
    sample = facts.languages
    note = (
        f"Languages are those of {sample.sampled:,} of the {pages_in(facts.outcomes):,} pages (at most "
        f"{SAMPLE_PAGES:,} are looked at, drawn by a hash of their URLs): as their text tells, and as their "
        "html element declares."
    )
    return "\n".join(
        [
            "<h2>What was answered</h2>",
            _chart(facts.statuses, "URLs by status code", "Nothing was asked for."),
            _chart(facts.content_types, "URLs by content type", "No answer named a content type."),
            f'<p class="note">{escape(note)}</p>',
            _chart(sample.detected, "pages of the sample by language", "No page could be looked at."),
            _chart(sample.declared, "pages of the sample by declared language", ""),
        ]
    )


def _refusals(facts: Facts) -> str:
    return "\n".join(
        [
            "<h2>What was refused</h2>",
            _chart(
                of_kind(facts.outcomes, REFUSED), "URLs that were refused, by reason", "No URL was refused."
            ),
            _largest(facts.hosts.by_robots, "hosts with most URLs that robots.txt forbids"),
            _chart(facts.opt_outs, "URLs by the opt-outs that were said with them", "No opt-out was met."),
            _chart(
                facts.closed, "hosts that were asked no more, by reason", "No host was left before its end."
            ),
        ]
    )


def _examples(facts: Facts, name: str) -> str:
    parts = ["<h2>URLs without a page</h2>"]
    for outcome, count in sorted(facts.outcomes.items(), key=lambda each: (-each[1], each[0])):
        if outcome not in facts.examples:
            continue
        meaning = meaning_of(outcome)
        command = f"moinho frontier ls {name} --outcome {outcome} --limit {count}"
        parts += [
            f"<h3>{escape(outcome)}: {count:,}</h3>",
            f"<p>{escape(meaning.told)}. {escape(meaning.advice or '')}</p>",
            _listed([(each.url, each.detail or "") for each in facts.examples[outcome]]),
            f"<p>All of them: <code>{escape(command)}</code></p>",
        ]
    if not facts.examples:
        parts.append("<p>Every URL that was tried is a page, or leads to one.</p>")
    parts.append("<h2>URLs that are not wanted</h2>")
    for reason, unwanted in facts.unwanted.items():
        parts.append(f"<h3>{escape(_readable(reason, URL_CHARACTERS))}: {unwanted.told}</h3>")
        parts.append(_listed([(url, "") for url in unwanted.examples]))
    note = (
        "They were found on pages and never asked for. They are counted, and some are kept, but they are not "
        "in the frontier: of any one of them `moinho frontier why URL` tells what rules it out."
    )
    told = note if facts.unwanted else "No link was ruled out by crawl.deny, crawl.allow or its host."
    parts.append(f'<p class="note">{escape(told)}</p>')
    return "\n".join(parts)


def _listed(urls: Sequence[tuple[str, str]]) -> str:
    items = (
        f"<li><code>{escape(_readable(url, URL_CHARACTERS))}</code> "
        f"{escape(_readable(detail, URL_CHARACTERS))}</li>"
        for url, detail in urls
    )
    return f"<ul>{''.join(items)}</ul>"


def _hosts(facts: Facts) -> str:
    rows = [
        (host.name, f"{host.latency:.2f}", f"{host.delay:.1f}", f"{host.requests:,}")
        for host in facts.slowest
    ]
    names = ("slowest hosts", "seconds to an answer", "seconds between requests", "requests")
    slowest = table(names, rows)
    return "\n".join(
        [
            "<h2>Hosts</h2>",
            _largest(facts.hosts.by_pages, "hosts with most pages"),
            _largest([(name, count) for name, count in facts.hosts.by_bytes], "hosts with most bytes"),
            slowest if rows else "",
        ]
    )


def _course(facts: Facts) -> str:
    depths = {str(depth): facts.depths[depth] for depth in range(max(facts.depths, default=-1) + 1)}
    return "\n".join(
        [
            "<h2>The course of the crawl</h2>",
            picture(_over_time(facts.timeline)) if facts.timeline.pages else "<p>No page was stored.</p>",
            picture(_columns(depths, "pages by links from a seed")) if depths else "",
        ]
    )


# --- pictures ---


def _chart(counts: Mapping[str, int], title: str, nothing: str) -> str:
    """A bar for each of the SHOWN most frequent, what is left as one more; a sentence if there is none."""
    if not counts:
        return f"<p>{escape(nothing)}</p>" if nothing else ""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    shown: Counter[str] = Counter()
    for place, (name, count) in enumerate(ordered):
        shown[_readable(name) if place < SHOWN else f"{len(ordered) - SHOWN} others"] += count
    return picture(bars(shown, title))


def _largest(hosts: Sequence[tuple[str, int]], title: str) -> str:
    return picture(bars({_readable(name): count for name, count in hosts}, title)) if hosts else ""


def _over_time(timeline: Timeline) -> Figure:
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    times = [
        datetime.datetime.fromtimestamp(timeline.start + number * timeline.bin_seconds, datetime.UTC)
        for number in range(len(timeline.pages))
    ]
    width = datetime.timedelta(seconds=timeline.bin_seconds)
    axes.bar(times, timeline.pages, width=width, align="edge", color=COLOUR)  # type: ignore[arg-type]
    axes.set_title(f"pages over time (UTC), each bar {_span_of(timeline.bin_seconds)}")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _columns(counts: Mapping[str, int], title: str) -> Figure:
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    drawn = axes.bar(list(counts), list(counts.values()), color=COLOUR)
    if len(counts) <= SHOWN:
        axes.bar_label(drawn, labels=[f"{count:,}" for count in counts.values()])
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


# --- words ---


def _readable(name: str, characters: int = NAME_CHARACTERS) -> str:
    """What somebody else chose, such as a content type: in one line, of printable ASCII, not too long."""
    line = "".join(letter if " " <= letter <= "~" else "?" for letter in name)
    return line if len(line) <= characters else line[: characters - 1] + "…"


def _span(timeline: Timeline) -> str:
    if not timeline.pages:
        return "-"
    ends = (timeline.start, timeline.start + len(timeline.pages) * timeline.bin_seconds)
    first, last = (datetime.datetime.fromtimestamp(end, datetime.UTC) for end in ends)
    return f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"


def _span_of(seconds: int) -> str:
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'s' if seconds > size else ''}"
    return f"{seconds} second{'s' if seconds > 1 else ''}"
