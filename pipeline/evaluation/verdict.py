"""Which of the models is better, in sentences that follow from figures whose intervals leave no doubt."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.estimates import Estimate
from pipeline.evaluation.figures import figure_of, named, shown, told
from pipeline.evaluation.glance import above_baseline, shots_told

NAMED = 5
"""Figures that a sentence names."""
LENGTH = "writing.tokens"

Judged = Mapping[str, Mapping[str, Estimate]]
"""Role → `win_rate` and `length_controlled` against the reference."""


def verdict(content: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The role of the best model, and sentences: the first says which it is, the others why, what it costs,
    and what none of the models can do."""
    reference, judges = content["reference"], list(content["judges"])
    if not content["clear"]:
        return reference, [f"{reference} stands alone: there is nothing to compare it with."]
    leaders, why = _by_judge(judges[0], content) if judges else _by_figures(content)
    best = leaders[0]
    if judges:
        why[1:1] = _partial(judges[0], content)
        why += [*_by_part(judges[0], leaders, content), *_lengths(content)]
    for judge in judges[1:]:
        why += [_other_judge(judge, content), *_partial(judge, content)]
        why += _contradiction(judges[0], judge, content)
    why += [*_tasks(content), *_bits(content)]
    others = [*(role for role in leaders if role != reference), *content["clear"]]
    about = (_against_reference(role, content) for role in dict.fromkeys(others))
    return best, [*why, *(sentence for sentences in about for sentence in sentences)]


def _by_part(judge: str, leaders: Sequence[str], content: Mapping[str, Any]) -> list[str]:
    """What of a judge's score the leaders have more or less of than the reference: why they win."""
    reference = content["reference"]
    roles = [role for role in leaders if role != reference] or list(content["judges"][judge])
    most = content["parts_most"][judge]
    each = [
        f"{part} ({shown(most[part], 'score')} at most): "
        + ", ".join(f"{role} {shown(by_role[role]['value'], 'score')}" for role in (*roles, reference))
        for part, by_role in content["parts"][judge].items()
    ]
    return [f"What the judge {judge} counts, in the mean of all answers: {'; '.join(each)}."] if each else []


def _partial(judge: str, content: Mapping[str, Any]) -> list[str]:
    """What a judge's word is worth about models that were trained by it, or by whom it labelled for."""
    found = []
    if roles := content["trained_to_please"].get(judge, []):
        found.append(
            f"The judge {judge} is what {_and(roles)} learned to please, so it says little of their work"
            + ("." if judge != next(iter(content["judges"])) else "; name another judge (compare.judge).")
        )
    if roles := content["labelled"].get(judge, []):
        found.append(
            f"The judge {judge} also labelled the pairs of answers that {_and(roles)} learned from: it tells "
            "how well they learned what it counts, and nothing of whether what they say is right."
        )
    return found


def _other_judge(judge: str, content: Mapping[str, Any]) -> str:
    by_role = content["judges"][judge]
    return (
        f"The judge {judge} prefers to {content['reference']}'s answers: {_list(_order(by_role), by_role)}."
    )


def _contradiction(first: str, second: str, content: Mapping[str, Any]) -> list[str]:
    """Where two judges leave no doubt that they mean opposite things."""
    reference, one, other = content["reference"], content["judges"][first], content["judges"][second]
    return [
        f"The judges contradict each other about {role} and {reference}: {first} prefers {role} in "
        f"{told(one[role]['win_rate'], 'share')}, {second} in {told(other[role]['win_rate'], 'share')}. They "
        "count different things, or one of them is wrong there: look at the answers at the end of the page."
        for role in one
        if _sides(one[role]["win_rate"]) * _sides(other[role]["win_rate"]) < 0
    ]


def _sides(rate: Estimate) -> int:
    """1 for the model, -1 for the reference, 0 if neither is clearly preferred."""
    return int(_above_half(rate)) - int(_below_half(rate))


def _lengths(content: Mapping[str, Any]) -> list[str]:
    """How long the answers are, since judges may like length, and what the rates at equal length are."""
    by_role = content["figures"].get(LENGTH, {})
    if content["reference"] not in by_role:
        return []
    each = ", ".join(f"{role} {shown(found['value'], 'tokens')}" for role, found in by_role.items())
    return [
        f"Tokens of an answer, on average: {each}. The rates at equal length are what a regression on the "
        "difference of the lengths leaves where there is none."
    ]


def _order(by_role: Judged) -> list[str]:
    return sorted(by_role, key=lambda role: -by_role[role]["win_rate"]["value"])


def _by_judge(judge: str, content: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The roles of which none is shown to answer better than another, the one that most is said for first,
    and why."""
    reference, by_role = content["reference"], content["judges"][judge]
    against = content["head_to_head"][judge]
    order = _order(by_role)
    best = order[0]
    rate = by_role[best]["win_rate"]
    if not _above_half(rate):
        worse = all(_below_half(each["win_rate"]) for each in by_role.values())
        head = (
            f"{reference} answers best: the judge {judge} prefers no other model's answers to its own."
            if worse
            else f"By the judge {judge} no model can be said to answer better than {reference}."
        )
        told_of = f"Of the questions, preferred to {reference}: {_list(order, by_role)}."
        return [reference], [head, told_of]
    near = [role for role in order[1:] if not _above_half(against[best][role])]
    leaders = [best, *(role for role in near if _above_half(by_role[role]["win_rate"]))]
    if len(leaders) == 1:
        equal = by_role[best]["length_controlled"]
        head = (
            f"By the judge {judge}, {best} answers best: its answer is preferred to {reference}'s in "
            f"{told(rate, 'share')} of {rate['n']} questions, ties counted half; at equal length in "
            f"{told(equal, 'share')}."
        )
        found = [head]
    else:
        head = (
            f"By the judge {judge}, {_and(leaders)} answer better than {reference}; which of them does so "
            f"best cannot be told: of {rate['n']} questions, ties counted half, preferred to {reference}'s "
            f"answers: {_list(leaders, by_role)}; at equal length: "
            f"{_list(leaders, by_role, 'length_controlled')}."
        )
        pairs = ", ".join(f"to {role}'s {told(against[best][role], 'share')}" for role in leaders[1:])
        found = [head, f"Against each other: {best}'s answers are preferred {pairs}."]
    open_ = [role for role in near if role not in leaders]
    behind = [role for role in order[1:] if role not in near]
    if open_:
        found.append(f"Not shown to differ from {best}: {_list(open_, by_role)}.")
    if behind:
        each = ", ".join(f"{role} {told(against[role][best], 'share')}" for role in behind)
        found.append(f"Clearly behind {best}, by how often their answers are preferred to its: {each}.")
    return leaders, found


def _above_half(rate: Estimate) -> bool:
    return rate["low"] is not None and rate["low"] > 0.5


def _below_half(rate: Estimate) -> bool:
    return rate["high"] is not None and rate["high"] < 0.5


def _list(roles: Sequence[str], by_role: Judged, kind: str = "win_rate") -> str:
    return ", ".join(f"{role} {told(by_role[role][kind], 'share')}" for role in roles)


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _tasks(content: Mapping[str, Any]) -> list[str]:
    """How many scores are clearly better than a trivial answer's: what the models can do at all."""
    ahead, asked = {}, ""
    for model in content["models"]:
        role = model["role"]
        own = [
            figure
            for name, by_role in content["figures"].items()
            if name.startswith("tasks.") and role in by_role
            if (figure := figure_of(name, by_role[role])) is not None and figure.main
        ]
        if own:
            ahead[role], asked = above_baseline(own), shots_told(own)
    if not ahead:
        return []
    count = max(known for _, _, known in ahead.values())
    if not any(better for better, _, _ in ahead.values()):
        return [
            f"At none of {count} scores of tasks{asked} is any of them clearly better than a trivial answer."
        ]
    ranked = ", ".join(f"{role} at {better}" for role, (better, _, _) in ahead.items())
    return [f"Of {count} scores of tasks{asked}, clearly better than a trivial answer: {ranked}."]


def _bits(content: Mapping[str, Any]) -> list[str]:
    """What training cost in the likelihood of unseen text, of each model."""
    ratios = content["bits_ratio"]
    if not ratios:
        return []
    each = [
        f"{role} {_percent(found['value'])} ({_percent(found['low'])} to {_percent(found['high'])})"
        if found["low"] is not None
        else f"{role} {_percent(found['value'])}"
        for role, found in ratios.items()
    ]
    told_of = f"compared with {content['reference']}'s (fewer are better): {', '.join(each)}."
    return [f"Bits for a byte of unseen text, {told_of}"]


def _percent(ratio: float) -> str:
    share = round(100 * (ratio - 1), 1) + 0.0  # no minus before a nought
    return f"{share:+.1f} %" if share else "0.0 %"


def _by_figures(content: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Without a judge: the model that is clearly better than the reference in most figures, less those in
    which it is clearly worse."""
    clear, reference = content["clear"], content["reference"]
    ahead = {role: len(found["better"]) - len(found["worse"]) for role, found in clear.items()}
    best = max(ahead, key=lambda role: ahead[role])
    if ahead[best] <= 0:
        return [reference], [f"No model is better than {reference} in more figures than it is worse in."]
    return [best], [
        f"{best} is clearly better than {reference} in {_count(clear[best]['better'])}, clearly worse in "
        f"{_count(clear[best]['worse'])}; no judge compared their answers."
    ]


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} figure{'' if len(names) == 1 else 's'}"


def _against_reference(role: str, content: Mapping[str, Any]) -> list[str]:
    """What else tells the model from the reference."""
    reference, clear = content["reference"], content["clear"][role]
    found = []
    for side in ("better", "worse"):
        if clear[side]:
            found.append(
                f"{role} is clearly {side} than {reference} in {_names(clear[side], role, content)}."
            )
    found.append(f"In {_count(clear['open'])} {role} and {reference} are not shown to differ.")
    return found


def _names(names: Sequence[str], role: str, content: Mapping[str, Any]) -> str:
    found = []
    for name in names[:NAMED]:
        mine, other = (content["figures"][name][each] for each in (role, content["reference"]))
        label, unit = named(name, mine)
        found.append(f"{label} ({shown(mine['value'], unit)}, not {shown(other['value'], unit)})")
    left = len(names) - NAMED
    return "; ".join(found) + (f"; and {left} more" if left > 0 else "")
