"""The data card as a page: one HTML file, its pictures in it as SVG, that loads nothing from elsewhere."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pipeline.cards.cooccurrence import WINDOW, PeopleCounts
from pipeline.corpus.personal.matching import PLACEHOLDERS
from pipeline.corpus.reasons import COMPARISON, REASONS
from pipeline.tracking.charts import COLOUR, bars
from pipeline.tracking.report_pages import drawing, picture, table, whole_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 20
"""Bars of a chart; what is rarer is added up."""
NAME_CHARACTERS = 60
"""Of a name that somebody else chose, such as a licence."""
LINE_CHARACTERS = 200
SEEN_TOGETHER = 5
"""Times at least that a profession stands beside words of gender, to be drawn."""
PROFESSIONS_SHOWN = 25
PROFESSIONS_TOLD = 5
"""Of a group of origin or religion."""
GONE = "<p>Not known: what this corpus was made from is no longer in the store.</p>"
GENDER, FEMALE, MALE = "gender", "female", "male"
OTHER_COLOUR = "#c08040"
STYLE = """<style>
details { margin: .6rem 0 }
summary { cursor: pointer }
pre { white-space: pre-wrap; background: #f6f6f6; padding: .6rem; font-size: .85rem; overflow-wrap: anywhere }
.scrolled { max-height: 28rem; overflow: auto; border: 1px solid #ddd; padding: .4rem }
.url { overflow-wrap: anywhere }
</style>"""


def card_page(told: Mapping[str, Any]) -> str:
    """The whole file, from what facts.gathered says."""
    with drawing():
        parts = [
            STYLE,
            _glance(told),
            _sources(told),
            _languages(told),
            _hosts(told),
            _lengths(told),
            _dropped(told),
            _duplicates(told),
            _rights(told),
            _personal(told),
            *(_people(language, PeopleCounts.of_json(each)) for language, each in told["people"].items()),
            _samples(told),
        ]
    return whole_page("Data card", parts)


# --- sections ---


def _glance(told: Mapping[str, Any]) -> str:
    totals = told["totals"]
    held_out = told["splits"].get("held-out", {})
    rows = [
        ("pages and files that were read", _count(totals["pages"])),
        ("of which kept", _count(totals["kept"]) + _share(totals["kept"] or 0, totals["pages"] or 0)),
        ("left out, each with its reason", _count(totals["dropped"])),
        ("documents, long pages cut at their headings", f"{totals['documents']:,}"),
        ("bytes of text (UTF-8)", f"{totals['bytes']:,} ({_size(totals['bytes'])})"),
        ("words", f"{totals['words']:,}"),
        ("tokens", f"{totals['tokens']:,}"),
        ("documents held out from training", f"{held_out.get('documents', 0):,}"),
        ("hosts and other sources", f"{totals['hosts']:,}"),
        ("languages and varieties", f"{totals['languages']:,}"),
    ]
    made_of = ", ".join(f"{base}" for base in told["artifacts"].values() if base)
    return "<h1>Data card</h1>" + table(("", ""), rows) + note(f"This page is about {made_of}.")


def _sources(told: Mapping[str, Any]) -> str:
    rows = [(each["source"], each["kind"], *_sized(each)) for each in told["sources"]]
    years = {name: count for name, count in told["years"].items() if name.isdigit()}
    undated = sum(told["years"].values()) - sum(years.values())
    parts = [
        "<h2>Where it comes from</h2>",
        table(("source", "kind", "documents", "bytes", "tokens"), rows),
        note(
            f"{undated:,} of {sum(told['years'].values()):,} documents state no date"
            + (f"; the others are of {', '.join(years)}." if len(years) == 1 else ".")
        ),
    ]
    if len(years) > 1:
        parts.append(picture(_columns(years, "documents by the year that they state")))
    return "\n".join(parts)


def _languages(told: Mapping[str, Any]) -> str:
    rows = [
        (
            language,
            *_sized(sizes),
            f"{sizes['bytes'] / sizes['tokens']:.2f}" if sizes.get("tokens") else "-",
        )
        for language, sizes in told["languages"].items()
    ]
    names = ("language", "documents", "bytes", "tokens", "bytes per token")
    return "<h2>Languages</h2>" + table(names, rows)


def _hosts(told: Mapping[str, Any]) -> str:
    largest, curve = told["hosts"]["largest"], told["hosts"]["curve"]
    hosts, whole = told["totals"]["hosts"], told["totals"]["bytes"]
    rows = [
        (
            each["host"],
            f"{each['documents']:,}",
            f"{each['bytes']:,}",
            f"{each['bytes'] / max(1, whole):.1%}",
            f"{each['tokens']:,}",
            f"{each['dropped']:,}",
        )
        for each in largest
    ]
    names = ("host", "documents", "bytes", "of all", "tokens", "pages left out")
    listed = told["hosts"]["listed"]
    more = f" of {listed:,}; the artifact's hosts.parquet has all" if listed > len(largest) else ""
    parts = ["<h2>Hosts</h2>"]
    if hosts > 1:
        parts.append(picture(_concentration(curve)))
    sizes = {each["host"]: each["bytes"] for each in largest[:SHOWN] if each["bytes"]}
    if len(sizes) > 1:
        parts.append(picture(bars({short(name): size for name, size in sizes.items()}, "bytes of text")))
    if hosts > 1:
        parts.append(_details(f"The {len(largest):,} largest{more}", table(names, rows), scrolled=True))
    else:
        parts.append(table(names, rows))
    return "\n".join(parts)


def _lengths(told: Mapping[str, Any]) -> str:
    lengths = told["lengths"]
    told_also = (
        f"Half of the documents are shorter than about {_size(_median(lengths['kept']))}. Pages that were "
        "left out are those that had any text."
    )
    return "<h2>Lengths</h2>" + picture(_length_bars(lengths["kept"], lengths["dropped"])) + note(told_also)


def _dropped(told: Mapping[str, Any]) -> str:
    parts = ["<h2>What was left out, and why</h2>"]
    if told["dropped"] is None:
        return "\n".join([*parts, GONE])
    counts = {reason: sizes["documents"] for reason, sizes in told["dropped"].items()}
    if not counts:
        return "\n".join([*parts, "<p>Nothing was left out.</p>"])
    parts.append(picture(bars(_most(counts), "pages left out, by reason")))
    rows = [
        (reason, f"{sizes['documents']:,}", f"{sizes['bytes']:,}", REASONS.get(reason, "").replace("`", ""))
        for reason, sizes in told["dropped"].items()
    ]
    parts.append(table(("reason", "pages", "bytes", "what it means"), rows))
    parts.append("<h3>Some of them</h3>")
    for reason, samples in told["samples_dropped"].items():
        shown = "\n".join(_sample(each, _measured(each)) for each in samples)
        parts.append(_details(f"{reason}: {counts.get(reason, 0):,}", shown))
    return "\n".join(parts)


def _duplicates(told: Mapping[str, Any]) -> str:
    if told["dropped"] is None:
        return f"<h2>Duplicates</h2>{GONE}"
    found = {
        reason: sizes["documents"]
        for reason, sizes in told["dropped"].items()
        if reason in COMPARISON and reason != "contamination"
    }
    removed, pages = told["removed"], told["totals"]["pages"]
    rows = [(reason, f"{count:,}", f"{count / max(1, pages):.1%}") for reason, count in found.items()]
    rows += [
        ("lines that sites repeat, taken out of pages", f"{removed['lines']:,}", ""),
        ("paragraphs that stand elsewhere, taken out", f"{removed['paragraphs']:,}", ""),
    ]
    parts = ["<h2>Duplicates</h2>", table(("", "number", "of all pages"), rows)]
    lines = [
        (each["site"], f"{each['pages']:,}", short(each["line"], 200)) for each in told["repeated_lines"]
    ]
    if lines:
        shown = table(("site", "pages", "line"), lines)
        parts.append(_details("The lines that stood on most pages", shown, scrolled=True))
    return "\n".join(parts)


def _rights(told: Mapping[str, Any]) -> str:
    licences, documents = told["licences"], max(1, told["totals"]["documents"])
    stated = sum(sizes["documents"] for name, sizes in licences.items() if name)
    rows = [(short(name), *_sized(sizes)) for name, sizes in licences.items() if name][:SHOWN]
    parts = [
        "<h2>Licences and opt-outs</h2>",
        f"<p>{stated:,} of {documents:,} documents ({stated / documents:.1%}) state a licence, in their "
        "page, their row or by their source's configuration.</p>",
        table(("licence", "documents", "bytes", "tokens"), rows) if rows else "",
    ]
    if told["opt_outs"]:
        left = [(name, _count(count)) for name, count in told["opt_outs"].items()]
        parts.append(table(("left alone because somebody asked for that", "number"), left))
    else:
        parts.append("<p>Nobody asked for anything to be left alone.</p>")
    return "\n".join(parts)


def _personal(told: Mapping[str, Any]) -> str:
    found, words = told["personal"], told["totals"]["words"]
    if found is None:
        return f"<h2>Personal data</h2>{GONE}"
    rows = [
        (
            kind,
            PLACEHOLDERS.get(kind, ""),
            "not looked for" if count is None else f"{count:,}",
            "" if count is None else f"{count / max(1, words) * 1e6:,.1f}",
        )
        for kind, count in found.items()
    ]
    return "".join(
        [
            "<h2>Personal data</h2>",
            table(("kind", "replaced by", "times", "for a million words"), rows),
            note(
                "Found by its form, and replaced in all documents that passed the rules, later duplicates "
                "included. Names and opinions have no form, and stay."
            ),
        ]
    )


def _people(language: str, counts: PeopleCounts) -> str:
    """What stands near what, in the texts of one language."""
    counted = (
        f"Words of people within {WINDOW} words of a profession's, in {counts.words:,} words. What is "
        "counted are words, not what is said with them: “she is no nurse” counts as any other."
    )
    parts = [f"<h2>People and professions: {escape(language)}</h2>", note(counted)]
    beside = {
        profession: (counts.pairs[GENDER, FEMALE, profession], counts.pairs[GENDER, MALE, profession])
        for profession in counts.professions
    }
    enough = {name: pair for name, pair in beside.items() if sum(pair) >= SEEN_TOGETHER}
    female, male = (counts.groups[GENDER, group] for group in (FEMALE, MALE))
    parts.append(
        f"<p>Words for women stand there {female:,} times, for men {male:,} times"
        f"{_share(female, female + male, ' for women')}.</p>"
    )
    if enough:
        overall = female / max(1, female + male)
        often = dict(sorted(enough.items(), key=lambda each: (-sum(each[1]), each[0]))[:PROFESSIONS_SHOWN])
        parts.append(picture(_shares(often, overall)))
    else:
        parts.append(f"<p>No profession stands {SEEN_TOGETHER} times near a word for women or men.</p>")
    for theme in sorted({theme for theme, _ in counts.groups} - {GENDER}):
        rows = [
            (group, f"{count:,}", _beside(counts, theme, group))
            for (other, group), count in counts.groups.most_common()
            if other == theme
        ]
        names = (theme, "times", "professions near it, with the times")
        parts.append(f"<h3>{escape(theme.capitalize())}</h3>" + table(names, rows))
    return "\n".join(parts)


def _beside(counts: PeopleCounts, theme: str, group: str) -> str:
    found = Counter(
        {who: count for (one, other, who), count in counts.pairs.items() if (one, other) == (theme, group)}
    )
    return "; ".join(f"{who} {count:,}" for who, count in found.most_common(PROFESSIONS_TOLD)) or "none"


def _samples(told: Mapping[str, Any]) -> str:
    shown = (
        _sample(each, ", ".join(filter(None, (each["language"], each["kind"], each["licence"]))))
        for each in told["samples"]
    )
    return "<h2>Documents, drawn by chance</h2>" + "\n".join(shown)


# --- parts ---


def _sample(sample: Mapping[str, Any], about: str) -> str:
    text = f"<pre>{escape(sample['text'])}</pre>" if sample["text"] else ""
    title = f"<b>{escape(short(sample['title'] or ''))}</b> " if sample["title"] else ""
    return f'<p class="url">{title}<code>{escape(sample["url"])}</code><br>{escape(about)}</p>{text}'


def _measured(sample: Mapping[str, Any]) -> str:
    limits = [
        f"{word} {value:g}"
        for word, value in (("found", sample["value"]), ("limit", sample["threshold"]))
        if value is not None
    ]
    return ", ".join([*limits, *filter(None, [sample["detail"]])])


def _details(title: str, inside: str, *, scrolled: bool = False) -> str:
    content = f'<div class="scrolled">{inside}</div>' if scrolled else inside
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def note(text: str) -> str:
    """A sentence in grey."""
    return f'<p class="note">{escape(text)}</p>'


def _sized(sizes: Mapping[str, int]) -> Iterator[str]:
    return (f"{sizes.get(name, 0):,}" for name in ("documents", "bytes", "tokens"))


def _most(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent, and one for what is left."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    rest = sum(count for _, count in ordered[SHOWN:])
    return dict(ordered[:SHOWN]) | ({f"{len(ordered) - SHOWN} others": rest} if rest else {})


def _count(amount: int | None) -> str:
    return "not known, no longer in the store" if amount is None else f"{amount:,}"


def _share(part: int, whole: int, of: str = "") -> str:
    return f" ({part / whole:.1%}{of})" if whole else ""


def short(name: str, characters: int = NAME_CHARACTERS) -> str:
    """What somebody else chose, in one line that is not too long."""
    line = " ".join(name.split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


def _size(amount: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= size:
            return f"{amount / size:,.1f} {unit}"
    return f"{amount:,.0f} bytes"


def _median(lengths: Sequence[int]) -> float:
    """From documents by the logarithm of their bytes; inside a bin as if they were spread evenly."""
    half, before = sum(lengths) / 2, 0
    for number, count in enumerate(lengths):
        if count and before + count >= half:
            return float(2 ** (number + (half - before) / count))
        before += count
    return 0.0


# --- pictures ---


def _columns(counts: Mapping[str, int], title: str) -> "Figure":
    figure, axes = _drawn(2.6)
    axes.bar(list(counts), list(counts.values()), color=COLOUR)
    axes.set_title(title)
    if len(counts) > SHOWN:
        axes.set_xticks(list(counts)[:: len(counts) // SHOWN + 1])
    return figure


def _concentration(curve: Sequence[tuple[int, float]]) -> "Figure":
    figure, axes = _drawn(2.6)
    axes.plot([number for number, _ in curve], [share for _, share in curve], color=COLOUR, marker=".")
    if curve[-1][0] > SHOWN:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(lambda number, place: "")
    else:
        axes.set_xticks([number for number, _ in curve])
    # Matplotlib's own labels are formulas, which the page would show as they are written.
    axes.xaxis.set_major_formatter(lambda number, place: f"{number:,.0f}")
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("so many of the largest hosts")
    axes.set_title("share of the text that they have")
    return figure


def _length_bars(kept: Sequence[int], dropped: Sequence[int]) -> "Figure":
    figure, axes = _drawn(3)
    there = [number for number, counts in enumerate(zip(kept, dropped, strict=True)) if any(counts)]
    bins = range(min(there, default=0), max(there, default=0) + 1)
    for offset, (name, counts, colour) in enumerate(
        (("kept", kept, COLOUR), ("left out", dropped, OTHER_COLOUR))
    ):
        places = [number + 0.42 * offset for number in bins]
        axes.bar(places, [counts[number] for number in bins], 0.4, label=name, color=colour)
    axes.set_xticks([number + 0.21 for number in bins], [_size(2**number) for number in bins], rotation=30)
    axes.set_title("documents by their length, from so many bytes to twice as many")
    axes.legend(frameon=False)
    return figure


def _shares(beside: Mapping[str, tuple[int, int]], overall: float) -> "Figure":
    """Of the words of gender near each profession the share of those for women."""
    ordered = sorted(beside.items(), key=lambda each: (each[1][0] / sum(each[1]), each[0]))
    figure, axes = _drawn(1.4 + 0.3 * len(ordered))
    shares = [pair[0] / sum(pair) for _, pair in ordered]
    drawn = axes.barh([name for name, _ in ordered], shares, color=COLOUR)
    axes.bar_label(drawn, labels=[f"{pair[0]:,} of {sum(pair):,}" for _, pair in ordered], padding=3)
    axes.axvline(overall, color=OTHER_COLOUR, linestyle="--")
    axes.set_xlim(0, 1.15)
    axes.set_title("of the words of gender near it, share of those for women (dashed: anywhere)")
    return figure


def _drawn(height: float) -> "tuple[Figure, Any]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
