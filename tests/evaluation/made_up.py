"""Assessments with made-up figures, for pages that are looked at without a model."""

from typing import Any

from pipeline.evaluation.compare import Assessed
from pipeline.evaluation.estimates import Estimate

QUESTIONS, DOCUMENTS = 60, 12


def estimate(value: float, width: float = 0.02, baseline: float | None = None, n: int = 100) -> Estimate:
    return {"value": value, "low": value - width, "high": value + width, "baseline": baseline, "n": n}


def content(role: str, bits: float = 1.5, ended: float = 0.9) -> dict[str, Any]:
    """An assessment.json with something in every section."""
    example = {
        "gap": 3.2,
        "stereotype": "The nurse said that she slept.",
        "other": "The nurse said that he slept.",
    }
    axes = {
        axis: {
            "gap": estimate(0.2 + place / 10, 0.15, 0.0, 40),
            "preferred_share": estimate(0.6, 0.08, 0.5, 40),
            "pairs": 80,
            "examples": [example, example | {"gap": -1.5}],
        }
        for place, axis in enumerate(("all", "gender", "origin", "religion"))
    }
    return {
        "model": {
            "role": role,
            "artifact": f"finetune/{role:0<16}",
            "form": "chat",
            "parameters": 3_200_000,
            "made": "2026-01-02T03:04:05+00:00",
        },
        "held_out": {"documents": DOCUMENTS, "bytes": 1000 * DOCUMENTS},
        "limits": {"answer_tokens": 128},
        "tasks": {
            "qa.en": {
                shots: {
                    "f1": estimate(0.1 + place / 20, 0.05, 0.2, 60),
                    "exact": estimate(0.05, 0.05, 0.1, 60),
                }
                for place, shots in enumerate(("0", "1", "4"))
            }
        },
        "task_prompts": {"qa.en": {"4": {"n": 60, "examples": 1.5, "cut": 3}}},
        "tasks_left_out": {"code.en": "no sandbox"},
        "task_examples": {
            "qa.en": {
                "0": [
                    {
                        "prompt": "Who moves the wheel?",
                        "answer": "the <b>water",
                        "expected": "water",
                        "score": 0.5,
                    }
                ]
            }
        },
        "harness": {},
        "instructions": {
            "en": {
                "prompts": estimate(0.1, 0.05, 0.12, 66),
                "instructions": estimate(0.2, 0.05, 0.22, 90),
                "kinds": {"no_commas": estimate(0.4, 0.1, 1.0, 20)},
            }
        },
        "instruction_examples": {
            "en": [{"prompt": "Say no.", "answer": "no", "followed": ["no_commas"], "missed": ["json"]}]
        },
        "likelihood": {
            "language": {"en": estimate(bits, 0.02, 2.6)},
            "domain": {"asyncio": estimate(bits + 0.1, 0.05, 2.5), "socket": estimate(bits - 0.1, 0.05, 2.4)},
        },
        "writing": {
            "repetition": estimate(0.12, 0.02, 0.01),
            "ended_share": estimate(ended, 0.03),
            "tokens": estimate(42.0, 2.0),
            "words": estimate(28.0, 1.5, 26.0),
            "distinct_1": {"value": 0.31, "low": None, "high": None, "baseline": 0.42, "n": 60},
            "latency": {"first_token_ms": estimate(8.0, 2.0, n=8), "token_ms": estimate(4.1, 0.3, n=8)},
        },
        "bias": {"en": axes, "pt": axes},
        "memorization": {
            "prefix_tokens": 32,
            "asked_tokens": 32,
            "extracted_share": estimate(0.015, 0.01, 0.0, 200),
            "matched_tokens": estimate(4.4, 0.6, 2.1, 200),
            "nats_per_token": estimate(2.4, 0.1, 2.9, 200),
            "by_occurrences": {"once": estimate(0.01, 0.01, n=180), "2 to 9 times": estimate(0.2, 0.1, n=20)},
            "examples": [
                {"prefix": "Return True if", "true": " it is set", "matched_tokens": 32, "occurrences": 5}
            ],
        },
        "answers": [
            {
                "id": "q0",
                "question": "What does `Session.commit` do?",
                "expected": "It commits the transaction.",
                "answer": "It commits the <s>transaction</s>.",
                "ended": True,
            }
        ],
    }


def assessed(role: str, bits: float = 1.5, ended: float = 0.9, tokens: int = 20) -> Assessed:
    """The same with answers and documents."""
    answers = [
        {
            "id": f"q{number}",
            "language": "en",
            "prompt": [{"role": "user", "content": f"What is {number}?"}],
            "expected": f"It is {number}.",
            "answer": f"{role} says {number}.",
            "tokens": tokens + number % 5,
            "ended": True,
        }
        for number in range(QUESTIONS)
    ]
    documents = {
        f"d{number}": {"document": f"d{number}", "nats": bits * (600 + 50 * number), "bytes": 1000}
        for number in range(DOCUMENTS)
    }
    return Assessed(role, content(role, bits, ended), answers, documents)
