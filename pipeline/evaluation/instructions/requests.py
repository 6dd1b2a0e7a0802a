"""Makes data/instructions.{en,pt}.jsonl: `python -m pipeline.evaluation.instructions.requests`.

The same requests with the same instructions in both languages: each request comes twice, once with one
instruction and once with two or three that can be followed at once.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from pipeline.evaluation.instructions.checks import say

DATA = Path(__file__).parent / "data"
SEED = 4

REQUESTS: tuple[tuple[str, str, tuple[str, str], tuple[str, str]], ...] = (
    ("Describe a rainy day.", "Descreva um dia de chuva.", ("rain", "window"), ("chuva", "janela")),
    (
        "Explain what a library is.",
        "Explique o que é uma biblioteca.",
        ("books", "people"),
        ("livros", "pessoas"),
    ),
    (
        "Tell me about a walk in the forest.",
        "Fale de um passeio na floresta.",
        ("trees", "path"),
        ("árvores", "caminho"),
    ),
    (
        "Write a short letter to a neighbour.",
        "Escreva uma carta curta a um vizinho.",
        ("house", "thank"),
        ("casa", "obrigado"),
    ),
    (
        "Recommend a dish for dinner.",
        "Recomende um prato para o jantar.",
        ("rice", "oil"),
        ("arroz", "azeite"),
    ),
    (
        "Explain how to plant a tomato.",
        "Explique como se planta um tomate.",
        ("soil", "water"),
        ("terra", "água"),
    ),
    (
        "Describe your favourite animal.",
        "Descreva o seu animal preferido.",
        ("tail", "eyes"),
        ("cauda", "olhos"),
    ),
    (
        "Explain why people sleep.",
        "Explique por que as pessoas dormem.",
        ("rest", "night"),
        ("descanso", "noite"),
    ),
    (
        "Invite a friend to a birthday party.",
        "Convide um amigo para uma festa de anos.",
        ("cake", "music"),
        ("bolo", "música"),
    ),
    (
        "Describe the sea to someone who has never seen it.",
        "Descreva o mar a quem nunca o viu.",
        ("waves", "salt"),
        ("ondas", "sal"),
    ),
    (
        "Explain what a map is good for.",
        "Explique para que serve um mapa.",
        ("road", "city"),
        ("estrada", "cidade"),
    ),
    (
        "Write an advertisement for an umbrella.",
        "Escreva um anúncio de um guarda-chuva.",
        ("dry", "colour"),
        ("seco", "cor"),
    ),
    (
        "Tell a story about a lost key.",
        "Conte uma história sobre uma chave perdida.",
        ("door", "pocket"),
        ("porta", "bolso"),
    ),
    ("Explain how bread is made.", "Explique como se faz o pão.", ("flour", "oven"), ("farinha", "forno")),
    (
        "Describe a busy market.",
        "Descreva um mercado cheio de gente.",
        ("fruit", "voices"),
        ("fruta", "vozes"),
    ),
    (
        "Give advice to a new student.",
        "Dê conselhos a um aluno novo.",
        ("teacher", "time"),
        ("professor", "tempo"),
    ),
    (
        "Explain why the moon changes its shape.",
        "Explique por que a lua muda de forma.",
        ("sun", "light"),
        ("sol", "luz"),
    ),
    (
        "Describe a train journey.",
        "Descreva uma viagem de comboio.",
        ("station", "seat"),
        ("estação", "lugar"),
    ),
    (
        "Write a complaint about a broken lamp.",
        "Escreva uma reclamação sobre um candeeiro partido.",
        ("shop", "money"),
        ("loja", "dinheiro"),
    ),
    (
        "Explain what friends are good for.",
        "Explique para que servem os amigos.",
        ("laugh", "help"),
        ("riso", "ajuda"),
    ),
    (
        "Describe the work of a nurse.",
        "Descreva o trabalho de uma enfermeira.",
        ("hospital", "care"),
        ("hospital", "cuidado"),
    ),
    ("Suggest a name for a cat.", "Sugira um nome para um gato.", ("soft", "black"), ("macio", "preto")),
    (
        "Explain how to cross a road.",
        "Explique como se atravessa uma rua.",
        ("left", "cars"),
        ("esquerda", "carros"),
    ),
    ("Describe a winter morning.", "Descreva uma manhã de inverno.", ("snow", "breath"), ("neve", "frio")),
    (
        "Write a note for someone who is ill.",
        "Escreva um bilhete a quem está doente.",
        ("soon", "tea"),
        ("breve", "chá"),
    ),
    ("Explain what a clock measures.", "Explique o que mede um relógio.", ("hours", "day"), ("horas", "dia")),
    ("Describe an old bicycle.", "Descreva uma bicicleta velha.", ("rust", "wheel"), ("ferrugem", "roda")),
    (
        "Tell me what to take to the mountains.",
        "Diga o que se leva para a montanha.",
        ("boots", "rope"),
        ("botas", "corda"),
    ),
    ("Explain how birds fly.", "Explique como voam as aves.", ("wings", "air"), ("asas", "ar")),
    ("Describe a good teacher.", "Descreva um bom professor.", ("patient", "listen"), ("paciente", "ouvir")),
    (
        "Write a rule for a swimming pool.",
        "Escreva uma regra para uma piscina.",
        ("run", "shower"),
        ("correr", "duche"),
    ),
    (
        "Explain why one should drink water.",
        "Explique por que se deve beber água.",
        ("body", "thirst"),
        ("corpo", "sede"),
    ),
    ("Describe a quiet village.", "Descreva uma aldeia calma.", ("church", "dog"), ("igreja", "cão")),
)
"""In English, in Portuguese, and two words of each language that would go with the answer."""

ENDINGS = (
    ("That is all.", "É tudo."),
    ("Thank you for reading.", "Obrigado pela leitura."),
    ("What do you think?", "Que lhe parece?"),
)
BEGINNINGS = (("Well", "Bem"), ("Of course", "Claro"), ("In short", "Em resumo"))
KEYS = (
    (["title", "text"], ["título", "texto"]),
    (["question", "answer"], ["pergunta", "resposta"]),
    (["name", "reason"], ["nome", "motivo"]),
)
AVOIDED = (("the", "de"), ("and", "e"), ("is", "é"))
LANGUAGES = {
    "en": ({"name": "Portuguese", "code": "pt"}, {"name": "English", "code": "en"}),
    "pt": ({"name": "inglês", "code": "en"}, {"name": "português", "code": "pt"}),
}

ALONE: tuple[str, ...] = (
    "at_most_words",
    "json",
    "no_commas",
    "bullets",
    "ends_with",
    "small_letters",
    "language",
    "at_least_words",
    "sentences",
    "capital_letters",
    "quoted",
    "title",
    "paragraphs",
    "contains",
    "begins_with",
    "avoids",
    "no_digits",
)
TOGETHER: tuple[tuple[str, ...], ...] = (
    ("at_most_words", "no_commas"),
    ("bullets", "small_letters"),
    ("begins_with", "ends_with"),
    ("sentences", "no_digits", "avoids"),
    ("title", "paragraphs"),
    ("json", "no_digits"),
    ("language", "at_most_words"),
    ("capital_letters", "no_commas"),
    ("contains", "sentences"),
    ("quoted", "at_most_words", "no_commas"),
    ("at_least_words", "no_digits"),
)
"""Sets that one answer can follow."""


def rows(language: str) -> Iterator[dict[str, Any]]:
    """The prompts, in their order."""
    random = Random(SEED)
    for number in range(2 * len(REQUESTS)):
        place, second = number % len(REQUESTS), number >= len(REQUESTS)
        english, portuguese, english_words, portuguese_words = REQUESTS[place]
        request, words = (english, english_words) if language == "en" else (portuguese, portuguese_words)
        kinds = TOGETHER[place % len(TOGETHER)] if second else (ALONE[place % len(ALONE)],)
        asked: list[dict[str, Any]] = [
            {"kind": kind, "parameters": _parameters(kind, language, words, random)} for kind in kinds
        ]
        said = [say(each["kind"], language, each["parameters"]) for each in asked]
        yield {
            "id": f"instructions-{number:02}",
            "prompt": " ".join([request, *said]),
            "instructions": asked,
        }


def _parameters(kind: str, language: str, words: tuple[str, str], random: Random) -> Mapping[str, Any]:
    """Drawn in the same way for both languages."""
    side = ("en", "pt").index(language)
    small, draw = random.randint(2, 4), random.randrange(3)
    given: dict[str, Mapping[str, Any]] = {
        "at_most_words": {"count": 10 * small},
        "at_least_words": {"count": 10 * small},
        "sentences": {"count": small},
        "bullets": {"count": small},
        "paragraphs": {"count": min(small, 3)},
        "json": {"keys": KEYS[draw][side]},
        "begins_with": {"phrase": BEGINNINGS[draw][side]},
        "ends_with": {"phrase": ENDINGS[draw][side]},
        "contains": {"words": list(words)},
        "avoids": {"word": AVOIDED[draw][side]},
        "language": LANGUAGES[language][draw % 2],
    }
    return given.get(kind, {})


def as_lines(language: str) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(language))


def write(folder: Path = DATA) -> None:
    folder.mkdir(exist_ok=True)
    for language in ("en", "pt"):
        (folder / f"instructions.{language}.jsonl").write_text(as_lines(language), encoding="utf-8")


if __name__ == "__main__":
    write()
