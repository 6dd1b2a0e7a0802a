"""Precision and recall on the labelled lines; docs/privacy.md has the figures."""

import re
from collections import Counter

import pytest

from pipeline.corpus.personal.matching import PLACEHOLDER, PLACEHOLDERS, Kind
from pipeline.corpus.privacy import PrivacyConfig, replace_personal
from tests.corpus.personal_lines import labelled_lines

FLOORS: dict[Kind, tuple[float, float]] = {
    "secret": (0.98, 0.93),
    "email": (0.98, 0.88),
    "card": (0.98, 0.94),
    "cpf": (0.98, 0.93),
    "cnpj": (0.98, 0.98),
    "ip": (0.98, 0.98),
    "phone": (0.98, 0.93),
}
"""Kind → precision and recall at least; a little under what was measured."""
KINDS = {placeholder: kind for kind, placeholder in PLACEHOLDERS.items()}


def found_in(text: str) -> list[tuple[Kind, int, int]]:
    """What was replaced and where it stood: the text between placeholders is unchanged."""
    replaced, _ = replace_personal(text, PrivacyConfig())
    kinds = [KINDS[placeholder] for placeholder in PLACEHOLDER.findall(replaced)]
    literal = (re.escape(piece) for piece in PLACEHOLDER.split(replaced))
    match = re.fullmatch("(.+?)".join(literal), text, re.DOTALL)
    assert match is not None
    return [(kind, *match.span(number)) for number, kind in enumerate(kinds, 1)]


def test_precision_and_recall_on_the_labelled_lines(capsys: pytest.CaptureFixture[str]) -> None:
    right: Counter[Kind] = Counter()
    found: Counter[Kind] = Counter()
    labelled: Counter[Kind] = Counter()
    mistakes = []
    for line in labelled_lines():
        seen, wanted = set(found_in(line.text)), set(line.spans)
        right.update(kind for kind, _, _ in seen & wanted)
        found.update(kind for kind, _, _ in seen)
        labelled.update(kind for kind, _, _ in wanted)
        mistakes += [f"{kind} missed: {line.text!r}" for kind, _, _ in wanted - seen]
        mistakes += [f"{kind} wrongly: {line.text[a:b]!r} in {line.text!r}" for kind, a, b in seen - wanted]
    with capsys.disabled():
        print(f"\n{len(labelled_lines())} labelled lines, exact spans")
        for kind in PLACEHOLDERS:
            precision, recall = right[kind] / found[kind], right[kind] / labelled[kind]
            print(f"  {kind:<7} precision {precision:.3f}, recall {recall:.3f} of {labelled[kind]}")
    for kind, (precision, recall) in FLOORS.items():
        assert right[kind] / found[kind] >= precision, mistakes
        assert right[kind] / labelled[kind] >= recall, mistakes
    assert FLOORS.keys() == PLACEHOLDERS.keys(), mistakes
