"""`python -m tests.benchmarks NAME`: measures one promise of speed; its last line is JSON."""

import argparse
import sys
from types import ModuleType

from tests.benchmarks import (
    checkpoint,
    clean,
    crawl,
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
    store,
    trace,
    train,
)
from tests.benchmarks.measure import PAIRS, report

BENCHMARKS: dict[str, ModuleType] = {
    "crawl": crawl,
    "frontier": frontier,
    "scale": scale,
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
    "store": store,
}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, module in BENCHMARKS.items():
        assert module.__doc__ is not None
        one = names.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        one.add_argument("--pairs", type=int, default=PAIRS, help="turns of ours and the reference")
        module.arguments(one)
    return parser


def main(words: list[str]) -> None:
    given = parser().parse_args(words)
    report(BENCHMARKS[given.name].run(given))


if __name__ == "__main__":
    main(sys.argv[1:])
