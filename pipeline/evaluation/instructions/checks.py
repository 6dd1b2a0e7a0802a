"""Instructions that a program can check: how each is said in a prompt, and whether an answer follows it.

In the spirit of IFEval (Zhou et al., 2023, arXiv:2311.07911); checks and words are our own. An answer
without any word follows nothing.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

WORD = re.compile(r"\w+(?:[-'’]\w+)*")
BULLET = re.compile(r"^\s*[-*•]\s+\S", re.MULTILINE)
SENTENCE_END = re.compile(r"[.!?…]+(?=[\s\"'”»)]|$)")
TITLE = re.compile(r"<<[^<>\n]+>>")
PARAGRAPHS = re.compile(r"\n\s*\n")
FENCE = re.compile(r"\A```(?:json)?\s*\n(.*?)\n?```\Z", re.DOTALL)
QUOTES = (('"', '"'), ("“", "”"), ("«", "»"))

Parameters = Mapping[str, Any]
Holds = Callable[[str, Parameters], bool]


@dataclass(frozen=True)
class Instruction:
    """One kind of instruction. `said` has the parameters' names in braces."""

    said: Mapping[str, str]
    holds: Holds


def follows(kind: str, answer: str, parameters: Parameters) -> bool:
    """Whether the answer does what an instruction of this kind asks for."""
    answer = answer.strip()
    return WORD.search(answer) is not None and INSTRUCTIONS[kind].holds(answer, parameters)


def say(kind: str, language: str, parameters: Parameters) -> str:
    """The instruction in words."""
    shown = {name: _listed(value, language) for name, value in parameters.items()}
    return INSTRUCTIONS[kind].said[language].format(**shown)


def _listed(value: Any, language: str) -> Any:
    if not isinstance(value, list):
        return value
    return {"en": " and ", "pt": " e "}[language].join(f'"{each}"' for each in value)


def word_count(text: str) -> int:
    return len(WORD.findall(text))


def _is_object_with(answer: str, parameters: Parameters) -> bool:
    """JSON alone, or in a fenced block alone: an object with just these keys."""
    fenced = FENCE.match(answer)
    try:
        found = json.loads(fenced.group(1) if fenced else answer)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and set(found) == set(parameters["keys"])


def _quoted(answer: str, _: Parameters) -> bool:
    return len(answer) > 1 and any(answer[0] == left and answer[-1] == right for left, right in QUOTES)


def _words(answer: str) -> set[str]:
    return {word.lower() for word in WORD.findall(answer)}


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(["en", "pt"])
    return identifier


def _in_language(answer: str, parameters: Parameters) -> bool:
    """The likelier of English and Portuguese by py3langid."""
    found: bool = _identifier().classify(answer)[0] == parameters["code"]
    return found


INSTRUCTIONS: Mapping[str, Instruction] = {
    "at_most_words": Instruction(
        {"en": "Use at most {count} words.", "pt": "Use no máximo {count} palavras."},
        lambda answer, given: word_count(answer) <= given["count"],
    ),
    "at_least_words": Instruction(
        {"en": "Use at least {count} words.", "pt": "Use pelo menos {count} palavras."},
        lambda answer, given: word_count(answer) >= given["count"],
    ),
    "sentences": Instruction(
        {"en": "Write exactly {count} sentences.", "pt": "Escreva exatamente {count} frases."},
        lambda answer, given: len(SENTENCE_END.findall(answer)) == given["count"],
    ),
    "bullets": Instruction(
        {
            "en": "Answer with exactly {count} bullet points, each on a line that begins with a hyphen.",
            "pt": "Responda com exatamente {count} pontos, cada um numa linha que começa com um hífen.",
        },
        lambda answer, given: len(BULLET.findall(answer)) == given["count"],
    ),
    "paragraphs": Instruction(
        {
            "en": "Write exactly {count} paragraphs with an empty line between them.",
            "pt": "Escreva exatamente {count} parágrafos com uma linha vazia entre eles.",
        },
        lambda answer, given: len(PARAGRAPHS.split(answer)) == given["count"],
    ),
    "no_commas": Instruction(
        {"en": "Do not use any commas.", "pt": "Não use vírgulas."},
        lambda answer, _: "," not in answer,
    ),
    "small_letters": Instruction(
        {"en": "Use small letters only.", "pt": "Use só letras minúsculas."},
        lambda answer, _: answer == answer.lower(),
    ),
    "capital_letters": Instruction(
        {"en": "USE CAPITAL LETTERS ONLY.", "pt": "USE SÓ LETRAS MAIÚSCULAS."},
        lambda answer, _: answer == answer.upper(),
    ),
    "json": Instruction(
        {
            "en": "Answer with nothing but a JSON object with the keys {keys}.",
            "pt": "Responda apenas com um objeto JSON com as chaves {keys}.",
        },
        _is_object_with,
    ),
    "begins_with": Instruction(
        {"en": 'Begin your answer with "{phrase}".', "pt": 'Comece a resposta com "{phrase}".'},
        lambda answer, given: answer.startswith(given["phrase"]),
    ),
    "ends_with": Instruction(
        {"en": 'End your answer with "{phrase}".', "pt": 'Termine a resposta com "{phrase}".'},
        lambda answer, given: answer.endswith(given["phrase"]),
    ),
    "contains": Instruction(
        {"en": "Use the words {words}.", "pt": "Use as palavras {words}."},
        lambda answer, given: {word.lower() for word in given["words"]} <= _words(answer),
    ),
    "avoids": Instruction(
        {"en": 'Do not use the word "{word}".', "pt": 'Não use a palavra "{word}".'},
        lambda answer, given: given["word"].lower() not in _words(answer),
    ),
    "quoted": Instruction(
        {"en": "Put your whole answer in quotation marks.", "pt": "Ponha toda a resposta entre aspas."},
        _quoted,
    ),
    "title": Instruction(
        {
            "en": "Give your answer a title in double angle brackets, such as <<title>>.",
            "pt": "Dê à resposta um título entre parênteses angulares duplos, como <<título>>.",
        },
        lambda answer, _: TITLE.search(answer) is not None,
    ),
    "no_digits": Instruction(
        {"en": "Do not use digits.", "pt": "Não use algarismos."},
        lambda answer, _: not any(character.isdigit() for character in answer),
    ),
    "language": Instruction(
        {"en": "Answer in {name}.", "pt": "Responda em {name}."},
        _in_language,
    ),
}
