"""A paper simulation of the road on a cluster: hours, money, bytes, and what breaks first.

Prints tables in Markdown. With --write they are put into the page that has them, between its marks.
"""

import argparse
import ast
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.benchmarks.paper import assumed
from tests.benchmarks.paper.assumed import Given, Guessed, Measured, Prices
from tests.benchmarks.paper.cases import CASES, CLUSTERS, ROOT, ROW_TOKENS, of_size
from tests.benchmarks.paper.crawl import PROCESSES, Crawl
from tests.benchmarks.paper.limit import Limit
from tests.benchmarks.paper.limits import first, limits
from tests.benchmarks.paper.road import Road, Stage
from tests.benchmarks.paper.text_limits import text_limits

PAGE = ROOT / "docs" / "at-scale.md"
MARKED = re.compile(r"(<!-- table: (?P<name>[^\n]+?) -->\n).*?(<!-- end -->\n)", re.DOTALL)
GIGA = {"bytes": ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))}
REACH = (0.1, 0.3, 1, 3, 10, 30, 100)
"""Terabytes of archives."""
COUNTS = ((1e12, "·10¹²"), (1e9, "·10⁹"), (1e6, "·10⁶"))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")
    defaults = Prices()
    for name in ("gpu_hour", "core_hour", "terabyte_month", "put"):
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=getattr(defaults, name), help="dollars")


def page(given: argparse.Namespace) -> str:
    """All tables, one after the other; or what was done with them."""
    names = ("gpu_hour", "core_hour", "terabyte_month", "put")
    tables = all_tables(Given(prices=Prices(**{name: getattr(given, name) for name in names})))
    if not given.write:
        return "\n".join(f"### {name}\n\n{table}" for name, table in tables.items())
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    return f"{PAGE.relative_to(ROOT)} has {len(tables)} tables\n"


def filled(text: str, tables: dict[str, str]) -> str:
    """The page with these tables between its marks. Raises KeyError for a mark that no table has."""
    return MARKED.sub(lambda found: f"{found[1]}{tables[found['name']]}{found[3]}", text)


def all_tables(given: Given) -> dict[str, str]:
    """Name → Markdown, in the order of the page."""
    tables = {
        "prices": _assumptions(given.prices),
        "measured": _assumptions(given.measured),
        "guessed": _assumptions(given.guessed),
    }
    for case in CASES:
        roads = [Road(case, cluster, given) for cluster in CLUSTERS]
        tables |= {
            f"{case.name}: what there is": _amounts(roads[0]),
            f"{case.name}: hours and dollars": _hours(roads),
            f"{case.name}: bytes, tasks and memory": _sizes(roads),
            f"{case.name}: steps": _steps(roads),
            f"{case.name}: checkpoints and failures": _failures(roads),
            f"{case.name}: a crawl in place of archives": _crawls(roads[0]),
            f"{case.name}: what breaks first": _first(roads),
            f"{case.name}: all limits": _limits(roads),
        }
    return tables | {"how far it reaches": _reach(given)}


# --- numbers ---


def size(value: float) -> str:
    """Bytes: 4.5 TB."""
    for unit, name in GIGA["bytes"]:
        if value >= unit:
            return f"{_short(value / unit)} {name}"
    return f"{value:.0f} B"


def count(value: float) -> str:
    """750,000 or 75·10⁶."""
    for unit, name in COUNTS:
        if value >= unit:
            return f"{_short(value / unit)}{name}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def time(seconds: float) -> str:
    """12 s, 5 min, 3.1 h, 14 days."""
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    for unit, name in ((3 * 86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{_short(seconds / min(unit, 86_400))} {name}"
    return f"{_short(seconds)} s"


def hours(seconds: float) -> str:
    value = seconds / 3600
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


UNITS: dict[str, Callable[[float], str]] = {
    "bytes": size,
    "seconds": time,
    "count": count,
    "share": lambda share: f"{share:.0%}",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; all columns but the first are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# --- tables ---


def _assumptions(part: Prices | Measured | Guessed) -> str:
    """Names and values, with what the source says of each."""
    tree = ast.parse(Path(assumed.__file__).read_text(encoding="utf-8"))
    name = type(part).__name__
    body = next(each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name).body
    rows = []
    for field, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            told = (
                after.value.value
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                else ""
            )
            value = getattr(part, field.target.id)
            values = value if isinstance(value, tuple) else (value,)
            rows.append(
                (field.target.id, " to ".join(f"{each:,.4g}" for each in values), " ".join(str(told).split()))
            )
    return "| name | value | of what, from where |\n|---|---:|---|\n" + "".join(
        f"| `{name}` | {value} | {told or 'as above'} |\n" for name, value, told in rows
    )


def _amounts(road: Road) -> str:
    amounts, training = road.amounts, road.training
    rows = [
        ("archives, WARC packed by gzip", count(amounts.archives), size(road.case.raw_bytes)),
        ("pages in them, HTML", count(amounts.pages), size(amounts.html)),
        ("their main text", count(amounts.pages), size(amounts.text)),
        ("documents that cleaning keeps", count(amounts.kept), size(amounts.kept_bytes)),
        ("documents after they were cut at headings", count(amounts.documents), size(amounts.kept_bytes)),
        ("tokens for training", count(amounts.tokens), size(2 * amounts.tokens)),
        (f"rows of {ROW_TOKENS:,} tokens", count(amounts.rows), ""),
        ("weights of the model", count(training.weights), size(4 * training.weights)),
        (
            "share of a GPU's peak that such a model is taken to use",
            f"{training.assumed_utilisation:.0%}",
            "",
        ),
        ("steps, each token read once", count(road.steps), ""),
    ]
    return table(("", "how many", "bytes"), rows)


def _hours(roads: Sequence[Road]) -> str:
    head = ["stage"]
    for road in roads:
        head += [f"{road.cluster.gpus} GPUs, {road.cluster.cores:,} cores: h", "of which alone", "$"]
    rows = []
    for stages in zip(*(road.stages for road in roads), strict=True):
        rows.append([stages[0].name, *(cell for stage in stages for cell in _hour_cells(stage))])
    rows.append(["**all**", *(cell for road in roads for cell in _hour_cells(road.total))])
    low, high = roads[0].given.guessed.utilisation
    for share in (low, high):
        cells = ["", f"pretrain at {share:.0%} of the peak"][1:]
        for road in roads:
            other = road.training.at_utilisation(share)
            price = other.seconds / 3600 * road.cluster.gpus * road.given.prices.gpu_hour
            cells += [hours(other.seconds), "", f"{price:,.0f}"]
        rows.append(cells)
    return table(head, rows)


def _hour_cells(stage: Stage) -> tuple[str, str, str]:
    return hours(stage.seconds), hours(stage.alone_seconds), f"{stage.dollars:,.0f}"


def _sizes(roads: Sequence[Road]) -> str:
    middle = roads[1]
    rows = [
        [
            stage.name,
            count(stage.tasks),
            count(stage.files),
            size(stage.store_bytes),
            size(stage.network_bytes),
            size(stage.driver_bytes),
            size(stage.task_bytes),
            count(stage.workers),
        ]
        for stage in middle.stages
    ]
    total = middle.total
    month = total.store_bytes / 1e12 * middle.given.prices.terabyte_month
    rows.append(
        [
            f"**all** (${month:,.0f} a month)",
            count(total.tasks),
            count(total.files),
            size(total.store_bytes),
            size(total.network_bytes),
            size(total.driver_bytes),
            size(total.task_bytes),
            "",
        ]
    )
    head = ("stage", "Ray tasks", "files", "in the store", "to and from the store", "driver's memory")
    return table((*head, "largest process", f"at once, {middle.cluster.gpus} GPUs"), rows)


def _steps(roads: Sequence[Road]) -> str:
    head = (
        "GPUs",
        "divided",
        "rows each",
        "products",
        "update",
        "exchange",
        "step",
        "products' share",
        "tokens/s",
    )
    rows = []
    for road in roads:
        for shards in (None, 8):
            training = road.trained(shards)
            step, batch = training.step, training.config.recipe().batch_tokens
            taken = " (taken)" if training == road.training else ""
            rows.append(
                [
                    str(road.cluster.gpus),
                    ("as planned: " if shards is None else "") + f"shards {training.shards}{taken}",
                    f"{training.rows_each:,.3g}",
                    time(step.compute),
                    time(step.update),
                    time(step.exchange),
                    time(step.seconds),
                    f"{step.busy:.0%}",
                    count(batch / step.seconds),
                ]
            )
    return table(head, rows)


def _failures(roads: Sequence[Road]) -> str:
    head = ("GPUs", "hours between failures", "failures", "copy", "write", "restart", "best pause")
    rows = []
    for road in roads:
        training = road.training
        for per_gpu in road.given.guessed.gpu_hours_between_failures:
            best = training.best_interval(per_gpu)
            lost = [training.interval(pause, per_gpu) for pause in (best, 30.0, 600.0)]
            rows.append(
                [
                    str(road.cluster.gpus),
                    hours(training.failure_seconds(per_gpu)),
                    f"{training.failures(per_gpu):.2g}",
                    time(training.copy_seconds),
                    time(training.write_seconds),
                    time(training.restart_seconds),
                    time(best),
                    *(f"{each.lost_share:.1%}" for each in lost),
                ]
            )
    return table((*head, "lost then", "lost at 30 s", "lost at 600 s"), rows)


def _crawls(road: Road) -> str:
    head = (
        "processes",
        "hosts at least",
        "hours",
        "bound by",
        "$",
        "fetched",
        "frontier of each",
        "of a round it takes",
    )
    rows = []
    for processes in PROCESSES:
        crawl = Crawl(road.amounts.pages, processes, road.given)
        rows.append(
            [
                str(processes),
                count(crawl.hosts),
                hours(crawl.seconds),
                crawl.bound_by,
                f"{crawl.dollars:,.0f}",
                size(crawl.network_bytes),
                size(crawl.frontier_bytes),
                f"{crawl.published_share:.0%}",
            ]
        )
    return table(head, rows)


def _first(roads: Sequence[Road]) -> str:
    lines = []
    for road in roads:
        every = limits(road)
        passed, ending = (sum(limit.breaks and limit.ends >= ends for limit in every) for ends in (0, 1))
        told = {ends: first(road, ends) for ends in (True, False)}
        said = {ends: "nothing" if found is None else _sentence(found) for ends, found in told.items()}
        lines.append(
            f"- **{road.cluster.gpus} GPUs**: {passed} of {len(every)} limits are passed, and {ending} of "
            f"them {'ends' if ending == 1 else 'end'} the run. The first that ends it: {said[True]}. The "
            f"first that slows it: {said[False]}.\n"
        )
    return "".join(lines)


def _reach(given: Given) -> str:
    """Between the two cases, as far as the tokens, on the middle cluster."""
    rows = []
    for terabytes in REACH:
        road = Road(of_size(terabytes), CLUSTERS[1], given)
        text, limits_of_text = road.text_stages, text_limits(road)
        ending = [limit for limit in limits_of_text if limit.breaks and limit.ends]
        rows.append(
            [
                f"{terabytes:g} TB",
                count(road.amounts.pages),
                count(road.case.shards),
                hours(sum(stage.seconds for stage in text)),
                hours(sum(stage.alone_seconds for stage in text)),
                size(max(stage.driver_bytes for stage in text)),
                size(max(stage.task_bytes for stage in text)),
                str(sum(limit.breaks for limit in limits_of_text)),
                _sentence(ending[0]) if ending else "nothing",
            ]
        )
    head = ("archives", "pages", "shards", "hours", "of which alone", "driver's memory", "largest process")
    return table((*head, "limits passed", "ends first"), rows)


def _sentence(limit: Limit) -> str:
    form = UNITS[limit.unit]
    return f"`{limit.stage}`: {limit.what} ({form(limit.found)}, where {form(limit.most)} would do)"


def _limits(roads: Sequence[Road]) -> str:
    lines = []
    for found in zip(*map(limits, roads), strict=True):
        form, one = UNITS[found[0].unit], found[1]
        values = [f"**{form(each.found)}**" if each.breaks else form(each.found) for each in found]
        then = "ends" if one.ends else "slows"
        lines.append([one.stage, one.what, *values, form(one.most), then, one.module, one.done])
    head = [
        "stage",
        "what grows",
        *(f"{road.cluster.gpus} GPUs" for road in roads),
        "at most",
        "then",
        "where",
        "what is done",
    ]
    marks = ["---", "---", *["---:"] * (len(roads) + 1), "---", "---", "---"]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, marks, *lines])
