"""The file tdmrep.json, in which a site says which of its pages are reserved (TDMRep, W3C Community Group
report of 10 May 2024)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from crawler.robots_txt import Pattern, path_of, pattern_of
from pipeline.corpus.opt_outs import TdmStatement, reserved_by

TDMREP_BYTES = 1 << 20
TDMREP_RULES = 10_000


@dataclass(frozen=True)
class TdmRule:
    """One rule of a tdmrep.json."""

    location: Pattern
    said: TdmStatement


def read_tdmrep(body: bytes) -> list[TdmRule]:
    """The rules of a tdmrep.json in their order; none if it cannot be read. Never raises."""
    try:
        entries = json.loads(body) if len(body) <= TDMREP_BYTES else []
    except (ValueError, RecursionError):
        return []
    entries = [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list):
        return []
    rules = [_rule(entry) for entry in entries[:TDMREP_RULES] if isinstance(entry, dict)]
    return [rule for rule in rules if rule is not None]


def _rule(entry: dict[str, object]) -> TdmRule | None:
    location, policy = entry.get("location"), entry.get("tdm-policy")
    reserved = reserved_by(str(entry.get("tdm-reservation")))
    if not isinstance(location, str) or reserved is None:
        return None
    path = location if location.startswith(("/", "*")) else f"/{location}"
    said = TdmStatement(reserved, policy if isinstance(policy, str) else None)
    return TdmRule(pattern_of(path), said)


def rule_for(url: str, rules: Sequence[TdmRule]) -> TdmStatement | None:
    """What the first rule that matches says, which is the one that counts."""
    path = path_of(url) if rules else ""
    return next((rule.said for rule in rules if rule.location.matches(path)), None)
