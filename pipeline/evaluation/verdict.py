"""Which of the models is better, in sentences that follow from figures whose intervals do not overlap."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.estimates import Estimate, apart
from pipeline.evaluation.figures import named, shown, told

NAMED = 5
"""Figures that a sentence names."""


def verdict(content: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The role of the best model, and sentences: the first says which it is, the others why, and what it
    costs."""
    judges, reference = content["judges"], content["reference"]
    if not content["clear"]:
        return reference, [f"{reference} stands alone: there is nothing to compare it with."]
    if judges:
        judge, by_role = next(iter(judges.items()))
        best, why = _by_judge(judge, by_role, content)
        why += _partial(judge, content["trained_to_please"].get(judge, []))
    else:
        best, why = _by_figures(content)
    others = [best] if best != content["reference"] else list(content["clear"])
    return best, [*why, *(sentence for role in others for sentence in _against_reference(role, content))]


def _partial(judge: str, roles: Sequence[str]) -> list[str]:
    """What a judge's word is worth about models that were trained by it."""
    if not roles:
        return []
    return [
        f"The judge {judge} is what {', '.join(roles)} learned to please, so it says little of their work; "
        "name a judge that they do not know (compare.judge)."
    ]


def _by_judge(
    judge: str, by_role: Mapping[str, Mapping[str, Estimate]], content: Mapping[str, Any]
) -> tuple[str, list[str]]:
    """The role that is best, and why."""
    reference = content["reference"]
    order = sorted(by_role, key=lambda role: -by_role[role]["win_rate"]["value"])
    best = order[0]
    rate = by_role[best]["win_rate"]
    if rate["low"] is None or rate["low"] <= 0.5:
        worse = all(_below_half(each["win_rate"]) for each in by_role.values())
        head = (
            f"{reference} answers best: the judge {judge} prefers no other model's answers to its own."
            if worse
            else f"By the judge {judge} no model can be said to answer better than {reference}."
        )
        return reference, [head, _rates(order, by_role, reference)]
    equal = by_role[best]["length_controlled"]
    head = (
        f"{best} answers best: the judge {judge} prefers its answer to that of {reference} in "
        f"{told(rate, 'share')} of {rate['n']} questions, ties counted half; "
        f"{told(equal, 'share')} at equal length."
    )
    return best, [head, *_rivals(best, order[1:], by_role)]


def _below_half(rate: Estimate) -> bool:
    return rate["high"] is not None and rate["high"] < 0.5


def _rivals(best: str, others: Sequence[str], by_role: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Who cannot be told from the best, and who is clearly behind."""
    rate = by_role[best]["win_rate"]
    behind = [role for role in others if apart(by_role[role]["win_rate"], rate)]
    close = [role for role in others if role not in behind]
    found = []
    if close:
        found.append(f"{_list(close, by_role)} cannot be told from it: the intervals overlap.")
    if behind:
        found.append(f"Clearly behind it: {_list(behind, by_role)}.")
    return found


def _list(roles: Sequence[str], by_role: Mapping[str, Mapping[str, Estimate]]) -> str:
    return ", ".join(f"{role} with {told(by_role[role]['win_rate'], 'share')}" for role in roles)


def _rates(order: Sequence[str], by_role: Mapping[str, Mapping[str, Estimate]], reference: str) -> str:
    return f"Of the questions, preferred to {reference}: {_list(order, by_role)}."


def _by_figures(content: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Without a judge: the model that is clearly better than the reference in most figures, less those in
    which it is clearly worse."""
    clear, reference = content["clear"], content["reference"]
    ahead = {role: len(found["better"]) - len(found["worse"]) for role, found in clear.items()}
    best = max(ahead, key=lambda role: ahead[role])
    if ahead[best] <= 0:
        return reference, [f"No model is better than {reference} in more figures than it is worse in."]
    return best, [
        f"{best} is clearly better than {reference} in {_count(clear[best]['better'])}, clearly worse in "
        f"{_count(clear[best]['worse'])}; no judge compared their answers."
    ]


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} figure{'' if len(names) == 1 else 's'}"


def _against_reference(role: str, content: Mapping[str, Any]) -> list[str]:
    """What else tells the model from the reference."""
    reference, clear = content["reference"], content["clear"][role]
    found = []
    ratio = content["bits_ratio"].get(role)
    if ratio is not None:
        more = ratio["value"] - 1
        low, high = ratio["low"] or ratio["value"], ratio["high"] or ratio["value"]
        found.append(
            f"On unseen text {role} needs {100 * abs(more):.1f} % "
            f"{'more' if more > 0 else 'fewer'} bits than {reference} "
            f"(from {100 * (low - 1):+.1f} to {100 * (high - 1):+.1f} %)."
        )
    for side in ("better", "worse"):
        if clear[side]:
            found.append(
                f"{role} is clearly {side} than {reference} in {_names(clear[side], role, content)}."
            )
    found.append(f"In {_count(clear['open'])} the two cannot be told apart: the intervals overlap.")
    return found


def _names(names: Sequence[str], role: str, content: Mapping[str, Any]) -> str:
    found = []
    for name in names[:NAMED]:
        mine, other = (content["figures"][name][each] for each in (role, content["reference"]))
        label, unit = named(name, mine)
        found.append(f"{label} ({shown(mine['value'], unit)}, not {shown(other['value'], unit)})")
    left = len(names) - NAMED
    return "; ".join(found) + (f"; and {left} more" if left > 0 else "")
