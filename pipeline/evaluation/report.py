"""The parts' results put together: `scores.json`, the charts, the samples, and the figures of the record."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.evaluation.evaluate import SAMPLES, SCORES
from pipeline.evaluation.likelihood import bits_per_byte
from pipeline.store import Attempt, File, Journal, Made

ALL = "all"
COMPRESSED = ("xz", "bare_lzma", "xz_whole", "xz_primed")
ELLIPSIS = "…"
LONGEST_SHOWN = 400


def write_report(attempt: Attempt, results: Mapping[str, list[Any]], held_out: Mapping[str, File]) -> Made:
    """Write everything, tell the samples to the journal, and hand back what goes into the record."""
    from pipeline.evaluation.plots import plot_scores

    scores = put_together(results)
    attempt.path(SCORES).write_text(json.dumps(scores, ensure_ascii=False, indent=2) + "\n")
    attempt.path(SAMPLES).write_text(samples(scores))
    plot_scores(scores, attempt.path("plots/."))
    journal = attempt.journal("report")
    _tell(scores, journal)
    return Made(
        files={
            SCORES: attempt.publish(attempt.path(SCORES)),
            SAMPLES: attempt.publish(attempt.path(SAMPLES)),
            **attempt.publish_folder("plots"),
            **held_out,
        },
        counts=counts(scores),
        figures=figures(scores),
    )


def put_together(results: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The content of scores.json, from the parts' results by measurement."""

    def only(name: str) -> Any:
        return results.get(name, [{}])[0]

    return {
        "held_out": only("held-out"),
        "bits_per_byte": _bits_per_byte(results["likelihood"], only("ngram"), only("compression")),
        "next_words": only("words"),
        "answers": only("answers"),
        "own_answers": only("own-answers"),
        "tokenizer": only("tokenizer"),
        "completions": only("completions"),
    }


def _bits_per_byte(
    likelihood: list[dict[str, dict[str, float]]],
    ngram: Mapping[str, Mapping[str, float]],
    compression: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """Language (and "all") → who → bits per byte of the same pieces."""
    found = {}
    for group, sizes in sorted(compression.items(), key=lambda item: (item[0] != ALL, item[0])):
        size = int(sizes["bytes"])
        base = sum(part[group]["nats"] for part in likelihood if group in part)
        found[group] = {
            "base": bits_per_byte(base, size),
            "ngram": bits_per_byte(ngram[group]["nats"], size),
        } | {name: 8 * sizes[name] / size for name in COMPRESSED}
    return found


def counts(scores: Mapping[str, Any]) -> dict[str, int]:
    held_out = scores["held_out"]
    names = ("documents", "bytes", "passages", "shared_passages", "scored_bytes", "scored_tokens", "pieces")
    found = {f"held-out.{name}": int(held_out[name]) for name in names}
    places = scores["next_words"].get("places", {})
    found["sentences"] = max((int(place["sentences"]) for place in places.values()), default=0)
    found["questions"] = int(scores["answers"].get("questions", 0))
    return found


def figures(scores: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of the run's summary, each by one name. What was not measured has none."""
    found: dict[str, float | None] = {
        "largest_document_share": scores["held_out"]["largest_document_share"],
        "shared_bytes_share": scores["held_out"]["shared_bytes_share"],
    }
    by_language = {
        group: values
        for group, values in scores["bits_per_byte"].items()
        if group == ALL or len(scores["bits_per_byte"]) > 2  # of one language alone, "all" says it
    }
    for group, values in by_language.items():
        suffix = "" if group == ALL else f".{group}"
        found |= {f"{name}_bits_per_byte{suffix}": value for name, value in values.items()}
    words, answers, own = scores["next_words"], scores["answers"], scores["own_answers"]
    for place, shares in words.get("places", {}).items():
        names = ("model_share", "unigram_share", "ratio")
        found |= {f"{place}_word.{name}": shares[name] for name in names}
    found |= {f"answers.{name}": answers.get(name) for name in ("ended_share", "mean_tokens")}
    found |= {f"own_answers.{name}": value for name, value in own.items() if name != "questions"}
    for language, values in scores["tokenizer"].items():
        found |= {f"tokenizer.{name}.{language}": value for name, value in values.items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def samples(scores: Mapping[str, Any]) -> str:
    """What the models write, as Markdown to read."""
    lines = ["# Samples", "", "## The base model continues", ""]
    for sample in scores["completions"]:
        lines += [*_quoted(f"**{_one_line(sample['prompt'])}**{sample['completion']}"), ""]
    if scores["next_words"]:
        lines += ["## The next word", "", "| text | true word | likeliest |", "|---|---|---|"]
        for place in scores["next_words"]["places"].values():
            lines += [_next_word_line(example) for example in place["examples"]]
        lines += [""]
    if scores["answers"]:
        lines += ["## The chat model answers", ""]
        for example in scores["answers"]["examples"]:
            lines += [f"**{_one_line(example['question'])}**", "", *_quoted(example["answer"]), ""]
            lines += ["Expected:", "", *_quoted(_shortened(example["expected"])), ""]
    return "\n".join(lines).rstrip() + "\n"


def _next_word_line(example: Mapping[str, Any]) -> str:
    likeliest = ", ".join(f"{word} {probability:.1%}" for word, probability in example["likeliest"])
    text = _one_line(example["before"]).replace("|", "\\|")
    return f"| {text} | {example['word']} | {likeliest} |"


def _tell(scores: Mapping[str, Any], journal: Journal) -> None:
    for sample in scores["completions"]:
        journal.text(
            f"completion of {_one_line(sample['prompt'])!r}", 0, sample["prompt"] + sample["completion"]
        )
    for example in scores["answers"].get("examples", []):
        journal.text(f"answer to {_one_line(example['question'])!r}", 0, example["answer"])


def _quoted(text: str) -> list[str]:
    return [f"> {line}".rstrip() for line in text.splitlines()] or [">"]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + ELLIPSIS
