"""`python -m tests.benchmarks NAME`: measures one promise of speed; its last line is JSON."""

import argparse
import sys
from types import ModuleType

from tests.benchmarks import (
    checkpoint,
    clean,
    crawl,
    crawl_scale,
    duplicates,
    encode,
    extraction,
    frontier,
    hostile,
    loader,
    overhead,
    quality,
    rates,
    recipe,
    restart,
    reuse,
    scale,
    serve,
    store,
    submit,
    trace,
    train,
)
from tests.benchmarks.measure import PAIRS, report
from tests.benchmarks.paper import page as paper

BENCHMARKS: dict[str, ModuleType] = {
    "crawl": crawl,
    "frontier": frontier,
    "crawl-scale": crawl_scale,
    "hostile": hostile,
    "extraction": extraction,
    "clean": clean,
    "duplicates": duplicates,
    "quality": quality,
    "encode": encode,
    "train": train,
    "loader": loader,
    "overhead": overhead,
    "recipe": recipe,
    "rates": rates,
    "reuse": reuse,
    "trace": trace,
    "checkpoint": checkpoint,
    "restart": restart,
    "submit": submit,
    "scale": scale,
    "store": store,
    "serve": serve,
}
PAGES: dict[str, ModuleType] = {"paper": paper}
"""What is reckoned, not measured: modules with `arguments` and `page`, which gives Markdown."""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, module in BENCHMARKS.items():
        assert module.__doc__ is not None
        one = names.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        one.add_argument("--pairs", type=int, default=PAIRS, help="turns of ours and the reference")
        module.arguments(one)
    for name, module in PAGES.items():
        assert module.__doc__ is not None
        module.arguments(
            names.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        )
    return parser


def main(words: list[str]) -> None:
    given = parser().parse_args(words)
    if given.name in PAGES:
        sys.stdout.write(PAGES[given.name].page(given))
        return
    report(BENCHMARKS[given.name].run(given))


if __name__ == "__main__":
    main(sys.argv[1:])
