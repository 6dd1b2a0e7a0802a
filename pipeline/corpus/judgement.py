"""What is wrong with a document: its language, the first rule that it breaks, or the classifier's score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.clean import CleanConfig
from pipeline.corpus.damage import replaced_share
from pipeline.corpus.language import Language, identify
from pipeline.corpus.prose import Prose, of_documentation
from pipeline.corpus.quality import first_fault, prose_of
from pipeline.corpus.rule_files import LanguageRules
from pipeline.corpus.scoring import Score
from pipeline.corpus.told_languages import primary, undecided_tags
from pipeline.corpus.variety import LEAST_SHARE, marks_in, variety_of

SURE_OF_ANOTHER = 0.5
"""A page is said to be in another language if that is likelier than not; a few words often are in none."""


@dataclass(frozen=True)
class Judgement:
    """Judges documents by a configuration and the rules of its languages."""

    config: CleanConfig
    rules: Mapping[str, LanguageRules]
    """By language, and by variety where it has rules of its own."""
    score: Score | None = None
    """Gives a document's quality, where there is a classifier."""

    def faults(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """Reason, value, threshold and detail of what each document fails by, or None.

        Writes its language, how sure that is, and its quality into each row. Of all rows first the
        language and then the rules, for py3langid's tables and all the rest have no room beside each
        other in a processor's cache: document by document takes a tenth longer.
        """
        prose = [of_documentation(row["text"]) for row in rows]
        found = [identify(row["text"], each) for row, each in zip(rows, prose, strict=True)]
        return [
            self._fault(row, each, language) for row, each, language in zip(rows, prose, found, strict=True)
        ]

    def _fault(self, row: dict[str, Any], prose: Prose, found: Language) -> dict[str, Any] | None:
        if not row["text"]:
            return {"reason": "boilerplate", "detail": "nothing but lines that its site repeats"}
        damage = replaced_share(row["text"])
        if damage > self.config.replaced_letters:
            return {
                "reason": "damaged",
                "value": round(damage, 6),
                "threshold": self.config.replaced_letters,
                "detail": "U+FFFD in place of letters",
            }
        tag = variety_of(prose.text or row["text"], found.code)
        row |= {"language": tag, "language_score": found.score}
        fault = self._language_fault(found, tag) or self._variety_fault(prose.text or row["text"], tag)
        if fault is not None:
            return fault
        judged = prose if row["kind"] != "web" else prose_of(row["text"], row["kind"])
        broken = first_fault(judged, self._rules(tag), row["kind"])
        return self._quality_fault(row) if broken is None else vars(broken)

    def _quality_fault(self, row: dict[str, Any]) -> dict[str, Any] | None:
        if self.score is None:
            return None
        row["quality"] = self.score(row["text"])
        if row["quality"] >= self.config.least_quality:
            return None
        return {"reason": "low-quality", "value": row["quality"], "threshold": self.config.least_quality}

    def _language_fault(self, found: Language, tag: str) -> dict[str, Any] | None:
        if not self._wanted(found.code, tag):
            sure = found.score >= SURE_OF_ANOTHER
            return {"reason": "language" if sure else "language-unsure", "value": found.score, "detail": tag}
        threshold = self._rules(tag).language_score
        if found.score < threshold:
            return {
                "reason": "language-unsure",
                "value": found.score,
                "threshold": threshold,
                "detail": tag,
            }
        if found.second_share > self.config.second_language:
            return {
                "reason": "mixed-languages",
                "value": found.second_share,
                "threshold": self.config.second_language,
                "detail": f"{tag} and {found.second}",
            }
        return None

    def _variety_fault(self, text: str, tag: str) -> dict[str, Any] | None:
        """What an undecided document says of its variety, where a surer one is asked for."""
        if self.config.undecided_variety == "keep" or tag not in undecided_tags(self.config.languages):
            return None
        marks = marks_in(text, tag)
        told = ", ".join(f"{count} of {variety}" for variety, count in sorted(marks.items()))
        return {
            "reason": "undecided-variety",
            "value": round(max(marks.values(), default=0) / (marks.total() or 1), 6),
            "threshold": LEAST_SHARE,
            "detail": f"{tag}; marks: {told}",
        }

    def _wanted(self, code: str, tag: str) -> bool:
        """A document of an undecided variety is wanted where any of its language's is."""
        if tag == code:
            return code in map(primary, self.config.languages)
        return code in self.config.languages or tag in self.config.languages

    def _rules(self, tag: str) -> LanguageRules:
        return self.rules.get(tag) or self.rules[primary(tag)]
