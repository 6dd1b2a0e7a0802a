"""Which language a document is written in, and how sure that is."""

from functools import cache
from typing import Any

from pipeline.corpus.prose import of_documentation

SLICE_CHARACTERS = 4_000
"""Of the prose, from its beginning: more does not make py3langid more accurate, only slower."""
ENOUGH_CHARACTERS = 200
"""With less prose than this, headings, tables and code are looked at too."""


def identify(text: str) -> tuple[str, float]:
    """ISO 639-1 code and probability (0 to 1) of the likeliest of py3langid's 97 languages."""
    prose = of_documentation(text).text
    sample = (prose if len(prose) >= ENOUGH_CHARACTERS else text)[:SLICE_CHARACTERS]
    language, probability = _identifier().classify(sample)
    return str(language), round(float(probability), 6)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
