"""The kinds of tasks: how a row becomes a question, what is measured, and what a trivial baseline says."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.evaluation.tasks import measures
from pipeline.evaluation.tasks.code import BASELINE_BODY, passed, signature
from pipeline.evaluation.tasks.items import Item, Items, Language, read_rows
from pipeline.evaluation.tasks.measures import PerItem, plain_words
from pipeline.evaluation.tasks.sandbox import SandboxConfig

TaskName = Literal["qa", "passages", "summaries", "translation", "sentiment", "code", "arithmetic"]

ABSTENTION = {"en": "not stated", "pt": "não consta"}
ANSWER = {"en": "Answer:", "pt": "Resposta:"}
SENTIMENTS = {
    "en": {"positive": "positive", "negative": "negative"},
    "pt": {"positive": "positiva", "negative": "negativa"},
}
TEMPLATES: Mapping[str, Mapping[str, str]] = {
    "qa": {
        "en": "{passage}\nQuestion: {question} If the text does not say, the answer is: not stated.",
        "pt": "{passage}\nPergunta: {question} Se o texto não disser, a resposta é: não consta.",
    },
    "passages": {
        "en": "{passages}\nWhich passage answers the question? {question}",
        "pt": "{passages}\nQue passagem responde à pergunta? {question}",
    },
    "summaries": {
        "en": "{text}\nSummarize the text in one sentence.",
        "pt": "{text}\nResuma o texto numa frase.",
    },
    "translation": {"pt": "Translate into Portuguese: {en}"},
    "sentiment": {
        "en": "{text}\nIs this opinion positive or negative?",
        "pt": "{text}\nEsta opinião é positiva ou negativa?",
    },
    "code": {
        "en": "Write a Python function `{signature}` that {en}.",
        "pt": "Escreva uma função Python `{signature}` que {pt}.",
    },
    "arithmetic": {"en": "{question}", "pt": "{question}"},
}
"""Task → language → the question. Names in braces are fields of the row."""

SENTENCE = re.compile(r".+?[.!?](?=\s|$)", re.DOTALL)
Read = Callable[[dict[str, Any], Language], Item]
Measure = Callable[[Sequence[Item], Sequence[str], Language, SandboxConfig], PerItem]
Baseline = Callable[[Item, Sequence[Item], Language], str]


@dataclass(frozen=True)
class Kind:
    """One kind of task."""

    name: TaskName
    titles: Mapping[str, str]
    main: str
    """The measure that stands for the task in a table."""
    answer_tokens: int
    """An answer must have ended by then; 0 where one of several choices is taken."""
    read: Read
    measure: Measure
    baselines: tuple[Baseline, ...]
    """Trivial answers; of each measure the best of them is what a model is compared with."""
    baseline_words: str
    by_language: bool = True
    """There is a file for each language; else one for all."""
    one_line: bool = True
    """An answer has one line."""

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(TEMPLATES[self.name])

    def items(self, language: Language, most: int) -> Items:
        """At most `most` that are scored, and all examples."""
        name = f"{self.name}.{language}" if self.by_language else self.name
        scored = [self.read(row, language) for row in read_rows(name, "score")]
        examples = [self.read(row, language) for row in read_rows(name, "example")]
        return Items(tuple(scored[:most]), tuple(examples))


def _item(task: TaskName, row: dict[str, Any], language: Language, *answers: str, **given: Any) -> Item:
    question = TEMPLATES[task][language].format(**(row | given.pop("shown", {})))
    label = given.pop("label", ANSWER[language])
    return Item(row["id"], question, answers, label=label, row=row, **given)


def _read_qa(row: dict[str, Any], language: Language) -> Item:
    return _item("qa", row, language, *(row["answers"] or [ABSTENTION[language]]))


def _read_passages(row: dict[str, Any], language: Language) -> Item:
    numbered = "\n".join(f"[{number}] {text}" for number, text in enumerate(row["passages"], 1))
    choices = tuple(str(number) for number in range(1, len(row["passages"]) + 1))
    return _item("passages", row, language, str(row["answer"]), choices=choices, shown={"passages": numbered})


def _read_summary(row: dict[str, Any], language: Language) -> Item:
    return _item("summaries", row, language, row["summary"])


def _read_translation(row: dict[str, Any], language: Language) -> Item:
    return _item("translation", row, language, row["pt"], *row["also"], label="Portuguese:")


def _read_sentiment(row: dict[str, Any], language: Language) -> Item:
    words = SENTIMENTS[language]
    return _item("sentiment", row, language, words[row["label"]], choices=tuple(words.values()))


def _read_code(row: dict[str, Any], language: Language) -> Item:
    shown = {"signature": signature(row)}
    return _item("code", row, language, row["solution"], label="Python:", shown=shown)


def _read_arithmetic(row: dict[str, Any], language: Language) -> Item:
    return _item("arithmetic", row, language, str(row["answer"]))


def _most_shared_words(item: Item, examples: Sequence[Item], language: Language) -> str:
    """The passage with most of the question's words; of equals the longest."""
    asked = set(plain_words(item.row["question"], language))
    passages = item.row["passages"]
    best = max(
        range(len(passages)),
        key=lambda at: (len(asked & set(plain_words(passages[at], language))), len(passages[at])),
    )
    return item.choices[best]


def _lead(item: Item, examples: Sequence[Item], language: Language) -> str:
    return _first_sentence(item.row["text"])


def _first_of_passage(item: Item, examples: Sequence[Item], language: Language) -> str:
    return _first_sentence(item.row["passage"])


def _first_sentence(text: str) -> str:
    found = SENTENCE.match(text)
    return found.group() if found else text


def _commonest_example(item: Item, examples: Sequence[Item], language: Language) -> str:
    return Counter(example.answers[0] for example in examples).most_common(1)[0][0]


def _first_number(item: Item, examples: Sequence[Item], language: Language) -> str:
    found = measures.NUMBER.search(item.question)
    return found.group() if found else ""


KINDS: Mapping[TaskName, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="qa",
            titles={"en": "Questions about a text", "pt": "Perguntas sobre um texto"},
            main="f1",
            answer_tokens=16,
            read=_read_qa,
            measure=lambda items, answers, language, _: measures.answered(
                items, answers, language, ABSTENTION[language]
            ),
            baselines=(lambda item, examples, language: ABSTENTION[language], _first_of_passage),
            baseline_words="always abstains or always gives the first sentence, whichever scores better",
        ),
        Kind(
            name="passages",
            titles={"en": "Finding the passage", "pt": "Encontrar a passagem"},
            main="accuracy",
            answer_tokens=0,
            read=_read_passages,
            measure=lambda items, answers, *_: measures.chosen(items, answers),
            baselines=(_most_shared_words,),
            baseline_words="the passage with most of the question's words",
        ),
        Kind(
            name="summaries",
            titles={"en": "Summarizing", "pt": "Resumir"},
            main="rougeL",
            answer_tokens=48,
            read=_read_summary,
            measure=lambda items, answers, *_: measures.summarized(items, answers),
            baselines=(_lead,),
            baseline_words="the first sentence",
        ),
        Kind(
            name="translation",
            titles={"pt": "Translating English into Portuguese"},
            main="chrf",
            answer_tokens=40,
            read=_read_translation,
            measure=lambda items, answers, *_: measures.translated(items, answers),
            baselines=(lambda item, *_: str(item.row["en"]),),
            baseline_words="copies the English sentence",
            by_language=False,
        ),
        Kind(
            name="sentiment",
            titles={"en": "Sentiment", "pt": "Sentimento"},
            main="accuracy",
            answer_tokens=0,
            read=_read_sentiment,
            measure=lambda items, answers, *_: measures.chosen(items, answers),
            baselines=(_commonest_example,),
            baseline_words="always the same answer",
        ),
        Kind(
            name="code",
            titles={"en": "Writing code", "pt": "Escrever código (enunciados em português)"},
            main="pass_at_1",
            answer_tokens=64,
            read=_read_code,
            measure=lambda items, answers, _, sandbox: passed(items, answers, sandbox),
            baselines=(lambda item, *_: BASELINE_BODY.format(**item.row),),
            baseline_words="a function that returns its first argument",
            by_language=False,
            one_line=False,
        ),
        Kind(
            name="arithmetic",
            titles={"en": "Arithmetic", "pt": "Aritmética"},
            main="accuracy",
            answer_tokens=12,
            read=_read_arithmetic,
            measure=lambda items, answers, *_: measures.reckoned(items, answers),
            baselines=(_first_number,),
            baseline_words="the first number of the question",
        ),
    )
}

MAIN_METRIC: Mapping[str, str] = {kind.name: kind.main for kind in KINDS.values()}
TITLES: Mapping[str, Mapping[str, str]] = {kind.name: kind.titles for kind in KINDS.values()}
BASELINES: Mapping[str, str] = {kind.name: kind.baseline_words for kind in KINDS.values()}
