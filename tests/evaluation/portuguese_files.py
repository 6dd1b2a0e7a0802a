"""Small files in the form in which ASSIN 2, FaQuAD and ENEM are published; every sentence is our own."""

import json
from pathlib import Path
from xml.sax.saxutils import escape

PAIRS = (
    ("Um menino está a correr na praia", "Uma criança corre na areia", 4.5, "Entailment"),
    ("A mulher corta o pão", "A mulher está a cantar", 1.5, "None"),
    ("Dois cães brincam no jardim", "Há cães no jardim", 4.0, "Entailment"),
    ("O comboio partiu cedo", "Ninguém apanhou o barco", 1.0, "None"),
)
CONTEXT = (
    "A secretaria fica no segundo andar. Abre às nove horas e fecha às dezassete. "
    "Os pedidos são feitos por escrito."
)
QUESTIONS = (
    ("Quando abre a secretaria?", ("às nove horas", "nove horas")),
    ("Em que andar fica a secretaria?", ("segundo andar",)),
    ("Como são feitos os pedidos?", ("por escrito",)),
)


def write_assin2(folder: Path) -> Path:
    """assin2-train-only.xml and assin2-test.xml, each with four pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f'  <pair entailment="{label}" id="{number}" similarity="{score}">\n'
        f"    <t>{escape(text)}</t>\n    <h>{escape(hypothesis)}</h>\n  </pair>"
        for number, (text, hypothesis, score, label) in enumerate(PAIRS, 1)
    ]
    whole = "<?xml version='1.0' encoding='UTF-8'?>\n<entailment-corpus>\n{}\n</entailment-corpus>\n"
    for name in ("assin2-train-only.xml", "assin2-test.xml"):
        (folder / name).write_text(whole.format("\n".join(lines)), encoding="utf-8")
    return folder


def write_faquad(folder: Path) -> Path:
    """train.json and dev.json, each with three questions about one paragraph."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = [
        {
            "id": f"q{number}",
            "question": question,
            "answers": [{"text": answer, "answer_start": CONTEXT.index(answer)} for answer in answers],
        }
        for number, (question, answers) in enumerate(QUESTIONS)
    ]
    paragraph = {"context": CONTEXT, "qas": asked}
    content = {"version": "1.0", "data": [{"title": "Secretaria", "paragraphs": [paragraph]}]}
    for name in ("train.json", "dev.json"):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def write_enem(folder: Path) -> Path:
    """Two years, one in each of the usual forms; each has a question that must be left out."""
    folder.mkdir(parents=True, exist_ok=True)
    choices = ["a chuva.", "o vento.", "a neve.", "o sol.", "o nevoeiro."]
    one = [
        {
            "id": f"questao_{number:02}",
            "question": f"O texto {number} fala do tempo. O que seca a roupa é",
            "description": [],
            "figures": ["figura.png"] if number == 3 else [],
            "alternatives": choices,
            "label": "D",
        }
        for number in (1, 2, 3)
    ]
    other = [
        {
            "id": f"2016_{number}",
            "exam_year": "2016",
            "question": f"Na cidade {number}, o que leva a areia é",
            "choices": {"text": choices, "label": list("ABCDE")},
            "answerKey": "B",
            "nullified": number == 8,
        }
        for number in (7, 8)
    ]
    for name, rows in (("2022.jsonl", one), ("zz-2016.jsonl", other)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / name).write_text(lines, encoding="utf-8")
    return folder
