"""Makes data/arithmetic.{en,pt}.jsonl: `python -m pipeline.evaluation.tasks.arithmetic`.

The same sums in both languages. Every answer is a whole number that is not negative.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from pipeline.evaluation.tasks.items import DATA

ITEMS, EXAMPLES = 72, 8
SEED = 20

NAMES = ("Ana", "Bruno", "Clara", "David", "Eva", "Hugo", "Marta", "Omar", "Rita", "Samuel", "Teresa", "Vera")
THINGS = (
    ("apples", "maçãs"),
    ("eggs", "ovos"),
    ("pencils", "lápis"),
    ("coins", "moedas"),
    ("stamps", "selos"),
    ("books", "livros"),
    ("shells", "conchas"),
    ("nails", "pregos"),
)
BARE = (
    ("{a} + {b}", "sum"),
    ("{a} - {b}", "difference"),
    ("{a} × {c}", "product"),
    ("{p} ÷ {c}", "quotient"),
    ("{a} + {b} - {c}", "sum less"),
    ("{c} × {d} + {a}", "product and more"),
)
"""What stands in "What is … ?", and how it is reckoned."""
STORIES = (
    (
        "{name} has {a} {things} and finds {b} more. How many {things} does {name} have now?",
        "{name} tem {a} {things} e encontra mais {b}. Quantos {things} tem {name} agora?",
        "sum",
    ),
    (
        "{name} had {a} {things} and gave away {b} of them. How many {things} are left?",
        "{name} tinha {a} {things} e deu {b}. Quantos {things} restam?",
        "difference",
    ),
    (
        "There are {c} boxes with {d} {things} each. How many {things} are there in all?",
        "Há {c} caixas com {d} {things} cada uma. Quantos {things} há ao todo?",
        "small product",
    ),
    (
        "{p} {things} are shared equally by {c} children. How many does each child get?",
        "{p} {things} são repartidos igualmente por {c} crianças. Quantos recebe cada criança?",
        "quotient",
    ),
    (
        "{name} reads {c} pages a day. How many pages does {name} read in {d} days?",
        "{name} lê {c} páginas por dia. Quantas páginas lê {name} em {d} dias?",
        "small product",
    ),
    (
        "A bus has {a} passengers. {b} get off and {c} get on. How many passengers are there now?",
        "Um autocarro leva {a} passageiros. Saem {b} e entram {c}. Quantos passageiros leva agora?",
        "difference and more",
    ),
    (
        "A ticket costs {c} coins. {name} buys {d} tickets and pays with {big} coins. "
        "How many coins come back?",
        "Um bilhete custa {c} moedas. {name} compra {d} bilhetes e paga com {big} moedas. "
        "Quantas moedas recebe de volta?",
        "change",
    ),
    (
        "{name} is {a} years old, and {other} is {c} years older. How old is {other}?",
        "{name} tem {a} anos, e {other} tem mais {c} anos. Quantos anos tem {other}?",
        "sum of age",
    ),
    (
        "A rope of {a} metres is cut, and one piece has {b} metres. How many metres has the other piece?",
        "Corta-se uma corda de {a} metros, e um pedaço tem {b} metros. Quantos metros tem o outro pedaço?",
        "difference",
    ),
    (
        "{name} walks {c} kilometres in the morning and twice as many in the afternoon. "
        "How many kilometres is that in all?",
        "{name} anda {c} quilómetros de manhã e o dobro à tarde. Quantos quilómetros são ao todo?",
        "three times",
    ),
)
"""In English, in Portuguese, and how it is reckoned."""


def rows(language: str) -> Iterator[dict[str, Any]]:
    """The questions in their order; the first ones are the examples."""
    random = Random(SEED)
    for number in range(ITEMS):
        values = _numbers(random)
        thing = random.choice(THINGS)
        name, other = random.sample(NAMES, 2)
        if number % 3 == 0:
            form, way = BARE[number // 3 % len(BARE)]
            asked = {"en": "What is {}?", "pt": "Quanto é {}?"}[language].format(form.format(**values))
        else:
            english, portuguese, way = STORIES[(number - number // 3 - 1) % len(STORIES)]
            story = english if language == "en" else portuguese
            asked = story.format(things=thing[language == "pt"], name=name, other=other, **values)
            asked = _agreeing(asked, thing[1]) if language == "pt" else asked
        yield {
            "id": f"arithmetic-{number:02}",
            "use": "example" if number < EXAMPLES else "score",
            "question": asked,
            "answer": _reckon(way, values),
        }


def _numbers(random: Random) -> dict[str, int]:
    """a ≥ b + 1; p is a multiple of c; big is more than c times d."""
    b = random.randint(2, 40)
    a, c, d = b + random.randint(1, 50), random.randint(2, 9), random.randint(2, 9)
    return {
        "a": a,
        "b": b,
        "c": c,
        "d": d,
        "p": c * random.randint(2, 12),
        "big": c * d + random.randint(1, 20),
    }


def _reckon(way: str, n: dict[str, int]) -> int:
    return {
        "sum": n["a"] + n["b"],
        "difference": n["a"] - n["b"],
        "product": n["a"] * n["c"],
        "quotient": n["p"] // n["c"],
        "sum less": n["a"] + n["b"] - n["c"],
        "product and more": n["c"] * n["d"] + n["a"],
        "small product": n["c"] * n["d"],
        "difference and more": n["a"] - n["b"] + n["c"],
        "change": n["big"] - n["c"] * n["d"],
        "sum of age": n["a"] + n["c"],
        "three times": 3 * n["c"],
    }[way]


FEMININE = {"maçãs", "moedas", "conchas"}


def _agreeing(text: str, thing: str) -> str:
    """Words that go with a feminine noun in its form."""
    if thing not in FEMININE or thing not in text:
        return text
    return (
        text.replace(f"Quantos {thing}", f"Quantas {thing}")
        .replace("são repartidos", "são repartidas")
        .replace("Quantos recebe", "Quantas recebe")
    )


def as_lines(language: str) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(language))


def write(folder: Path = DATA) -> None:
    for language in ("en", "pt"):
        (folder / f"arithmetic.{language}.jsonl").write_text(as_lines(language), encoding="utf-8")


if __name__ == "__main__":
    write()
