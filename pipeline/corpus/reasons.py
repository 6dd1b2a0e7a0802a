"""Why a document is not kept: each reason that may stand in `dropped/`, and what it means.

`python -m pipeline.corpus.reasons > docs/reasons.md` makes the page for users.
"""

import sys
from collections.abc import Mapping

EXTRACTION = {
    "empty": "There is no text: the file has no bytes, or the page has no main text.",
    "unknown-format": "Neither its name nor its first bytes tell its format. Set the source's `format`.",
    "unreadable": "It is not what its format says, or hides its text: damaged, encrypted, or no text at all.",
    "too-large": "It is longer than `extract.page_bytes`, or than `extract.file_bytes` if it is a PDF or an "
    "EPUB; or it unpacks to too much.",
    "too-deep": "The page nests more elements than the parser keeps.",
    "extractor-timeout": "Reading took longer than `extract.cpu_seconds`, twice.",
    "extractor-memory": "Reading needed more than `extract.memory_bytes`, twice.",
    "extractor-crash": "The reader died of it, twice.",
    "extractor-error": "The reader failed with the error that the detail tells.",
    "broken-record": "The record of an archive, the line or the row is damaged; the detail tells where.",
    "no-text": "The column that should have the text holds something else.",
    "http-status": "The archive's record is an answer that is no page, such as 404.",
    "opt-out": "The archived page asks not to be used; the detail tells how. `opt_outs` of the source says "
    "what is obeyed.",
    "content-type": "The archive's record is of a type that is not read, such as an image.",
}
DAMAGE = {
    "damaged": "More of its letters than `clean.replaced_letters` are U+FFFD, which stands for bytes that "
    "are no character: invalid UTF-8, or an encoding wrongly told.",
}
FORGOTTEN = {
    "forgotten": "Somebody asked to have its host or page left out (`moinho forget`); the detail tells the "
    "rule. Its text is not kept here.",
}
LANGUAGE = {
    "language": "It is in a language that `clean.languages` does not name; the detail tells which.",
    "language-unsure": "The language is not sure enough, by the threshold of its rules.",
    "undecided-variety": "It is in a language of which `clean.languages` names a variety (pt-BR), has too "
    "few marks of any, or marks of several, and `clean.undecided_variety` is `drop`; the detail counts them.",
    "mixed-languages": "More of it than `clean.second_language` allows is in a second language.",
}
QUALITY = {
    "few-words": "It has too few words.",
    "many-words": "It has too many words.",
    "short-words": "Its words are too short on the average.",
    "long-words": "Its words are too long on the average.",
    "hashes": "It has too many # for its words.",
    "ellipses": "It has too many … for its words.",
    "bullet-lines": "Too many of its lines begin with a bullet.",
    "ellipsis-lines": "Too many of its lines end with an ellipsis.",
    "few-letters": "Too few of its words have a letter.",
    "few-stop-words": "It has too few of the language's most common words.",
    "many-stop-words": "It has too many of the language's most common words.",
    "duplicate-lines": "Too many of its lines, or of the characters in them, are repetitions.",
    "duplicate-paragraphs": "Too many of its paragraphs, or of the characters in them, are repetitions.",
    **{f"frequent-{size}-gram": f"One run of {size} words makes up too much of it." for size in (2, 3, 4)},
    **{
        f"duplicate-{size}-grams": f"Runs of {size} words that repeat make up too much of it."
        for size in (5, 6, 7, 8, 9, 10)
    },
    "few-punctuated-lines": "Too few of its lines end with punctuation.",
    "short-lines": "Too many of its lines are short.",
    "duplicated-characters": "Lines that repeat have too many of its characters.",
    "many-newlines": "It has too many line ends for its words.",
    "few-sentences": "It has too few sentences.",
    "few-terminal-lines": "Too few of its lines end as a sentence does.",
    "few-word-lines": "Too many of its lines have hardly a word.",
    "giant-words": "It has words of impossible length.",
    "curly-brackets": "It has curly brackets, as code does.",
    "lorem-ipsum": "It has placeholder text.",
    "policy-lines": "It has lines on cookies, terms or privacy.",
    "few-long-lines": "It has too few lines of some length.",
    "low-quality": "The classifier gives it less than `clean.least_quality`.",
    "boilerplate": "It is nothing but lines that its site repeats.",
}
COMPARISON = {
    "duplicate-exact": "Another document has the same words; the detail tells which was kept.",
    "duplicate-url": "Another document has the same URL; the detail tells which was kept.",
    "duplicate-near": "Another document is nearly the same; the detail tells which was kept.",
    **{
        f"duplicate-{way}-earlier": "The same, and what was kept is in the documents of `clean.earlier`."
        for way in ("exact", "url", "near")
    },
    "paragraphs-elsewhere": "Nearly all of it are paragraphs that another document has "
    "(`clean.paragraphs_once`).",
    "contamination": "It repeats an example of an evaluation set; the detail tells which, and the words.",
}
SECTIONS = {
    "Extraction: nothing could be read": EXTRACTION,
    "Left out on request": FORGOTTEN,
    "Damage": DAMAGE,
    "Language": LANGUAGE,
    "Quality: thresholds by language and kind lie in `pipeline/corpus/rules/`": QUALITY,
    "Comparison with other documents": COMPARISON,
}
REASONS: Mapping[str, str] = EXTRACTION | FORGOTTEN | DAMAGE | LANGUAGE | QUALITY | COMPARISON
"""Each reason with its meaning."""

HEAD = """# Why a document was dropped

Every document that goes into the stages `extract` and `clean` is kept, or is dropped with one of these
reasons, in the counts `dropped.<reason>` and in the rows that `moinho corpus dropped NAME/documents`
shows, with what was measured and the limit. The two always add up to what went in. This page is made by
`python -m pipeline.corpus.reasons > docs/reasons.md`; do not edit it by hand.
"""


def page() -> str:
    """All reasons, as Markdown."""
    parts = [HEAD]
    for title, reasons in SECTIONS.items():
        rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in reasons.items())
        parts.append(f"## {title}\n\n| reason | what it means |\n|---|---|\n{rows}")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
