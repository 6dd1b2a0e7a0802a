"""Questions and answers that a document holds already: its headings ask, its paragraphs answer.

A heading, or a line that is a function's signature, names a subject; the first sentences of the
prose below it say what that is. Nothing is made up: an answer is a verbatim piece of its document.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.corpus.prose import FENCE, lines_with_code

Kind = Literal["name", "topic", "question"]

SMALLEST_ANSWER_CHARACTERS = 25
SMALLEST_ANSWER_WORDS = 4
SMALLEST_LETTER_SHARE = 0.82
LONGEST_SUBJECT_CHARACTERS = 60
LONGEST_TOPIC_WORDS = 8
PARAGRAPHS_TRIED = 2
"""Below a heading; the first is often a signature."""

BETWEEN_PARAGRAPHS = "\n\n"

HEADING = re.compile(r"^(#{1,6}) +(.*?)[ #]*$")
DEFINITION = re.compile(r"^(?:async +)?(?:def|class)\s+([A-Za-z_][\w.]*)")
SIGNATURE = re.compile(r"^([A-Za-z_][\w.]*) ?\(.*\)(?: *(?:->|→).*)?:?$", re.DOTALL)
ASSIGNMENT = re.compile(r"^([a-z_A-Z]\w*)(?: *: *[^=]{1,80})? *= ")
ANNOTATION = re.compile(r"^([a-z_]\w*) *: *[\w\[\]., |\"']+$")
IDENTIFIER = re.compile(r"^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(\))?$")
LOOKS_LIKE_CODE = re.compile(r"[_.(]|[a-z][A-Z]|^[a-z]")
SENTENCE_END = re.compile(r"[.!?][\"'”’)\]`]*(?=\s+[A-ZÀ-Ý\"“'(`]|\s*$)")
ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|cf|vs|Dr|Mr|Ms|Sr|Sra|Fig|Eq|p\. ?ex|pág|No|n)|\.\.)\.$")
CALL = re.compile(r"^[A-Za-z_][\w.]*\(|->|=>")
WORD = re.compile(r"[^\W\d_]{2,}")
LETTER = re.compile(r"[^\W\d_]")
NOT_PROSE = re.compile(
    r"-->|->|=>|>>>|\|| = |==|::|\\[a-zA-Z(\[]|\$|[{}]|:param|:class:|@\w+|https?://|�|__\w+__\(|\.\. "
)
NOT_AN_ANSWER = re.compile(
    r"^(?:XXX|TODO|FIXME|Deprecated|New in|Added in|Changed in|Novo na|Note\b|See |Undocumented|Example|"
    r"Alias for field|WARNING|Parameters|Returns:|Inherited|Copyright|Args?:|Arguments?:|Usage:?)",
)
GENERIC = frozenset(
    """
    parameters parameter params returns return yields raises warns warnings warning receives notes note
    examples example references reference see also see-also attributes methods method functions function
    classes class arguments args keyword arguments other parameters inherited members usage summary
    introduction overview contents index description details todo history changelog credits authors author
    copyright license availability implementation see more bugs files options synopsis name exceptions
    constants data submodules module module contents package contents methods defined here api documentation
    parâmetros retorna retorno exemplos exemplo notas nota referências veja também ver também introdução
    sumário índice conteúdo descrição métodos funções classes argumentos atributos resumo autores licença
    observações observação opções
    """.split()  # noqa: SIM905
)
NOT_A_TOPIC = frozenset(("returns", "return", "raises", "yields", "note", "see", "hints", "retorna", "veja"))
"""First words of headings that begin a remark instead of naming something."""
TITLE_TAIL = re.compile(r"(?: API documentation| documentation| [|–—-] .*)$")


@dataclass(frozen=True)
class Pair:
    """A subject and the sentences that a document says about it."""

    kind: Kind
    """name: an identifier of code; topic: words; question: the heading asks by itself."""
    subject: str
    context: str
    """The module or page it belongs to, for a subject that several pages have."""
    answer: str


@dataclass(frozen=True)
class Block:
    """A heading (level 1 to 6) or a paragraph (level 0)."""

    level: int
    text: str


def find_pairs(text: str, title: str, answer_characters: int, answer_paragraphs: int = 1) -> list[Pair]:
    """All pairs of a document, in its order; answers have at most so many characters and paragraphs."""
    blocks = list(_blocks(text))
    top = next((block.text for block in blocks if block.level == 1), TITLE_TAIL.sub("", title))
    parents: list[Block] = []
    pairs = []
    for place, block in enumerate(blocks):
        if not block.level:
            continue
        parents = [parent for parent in parents if parent.level < block.level]
        named = _subject(block, parents)
        parents.append(block)
        answer = _answer_below(blocks, place, answer_characters, answer_paragraphs) if named else None
        if named and answer:
            kind, subject = named
            context = _plain(top)
            pairs.append(Pair(kind, subject, context if context != subject else "", answer))
    return pairs


def _blocks(text: str) -> Iterator[Block]:
    """Headings and paragraphs of prose; a line of its own that is a signature counts as a heading."""
    lines: list[str] = []
    for line, code in [*lines_with_code(text), ("", False)]:
        heading = None if code else HEADING.match(line)
        if not code and not heading and line.strip() and not FENCE.match(line):
            lines.append(line)
            continue
        if lines:
            yield _paragraph(lines)
            lines = []
        if heading:
            yield Block(len(heading[1]), heading[2].strip())
        elif code or FENCE.match(line):
            yield Block(0, "")


def _paragraph(lines: list[str]) -> Block:
    first = lines[0]
    if first.startswith((" ", "- ", "* ", "| ", "> ", "1. ")):
        return Block(0, "")
    text = " ".join(" ".join(lines).split())
    is_signature = SIGNATURE.match(text) and not WORD.search(text.rsplit(")", 1)[-1])
    return Block(5 if is_signature and len(text) < 400 else 0, text)


def _subject(block: Block, parents: list[Block]) -> tuple[Kind, str] | None:
    """What a heading is about, or None where it names nothing of its own ('Parameters', '_private')."""
    text = block.text.replace("\\_", "_")
    found = DEFINITION.match(text) or SIGNATURE.match(text) or ASSIGNMENT.match(text)
    found = found or ANNOTATION.match(text)
    plain = _plain(text)
    if found or (IDENTIFIER.match(plain) and LOOKS_LIKE_CODE.search(plain)):
        name = found[1] if found else plain.removesuffix("()")
        return _qualified(name, parents)
    words = plain.split()
    if not 1 <= len(words) <= LONGEST_TOPIC_WORDS or not words[0][:1].isalpha():
        return None
    if len(plain) > LONGEST_SUBJECT_CHARACTERS or all(
        word.casefold().strip(":") in GENERIC for word in words
    ):
        return None
    if NOT_PROSE.search(plain) or words[0].casefold() in NOT_A_TOPIC:
        return None
    return ("question", plain) if plain.endswith("?") and len(words) > 2 else ("topic", plain.rstrip(":."))


def _qualified(name: str, parents: list[Block]) -> tuple[Kind, str] | None:
    """`fromtimestamp` below `class date` is `date.fromtimestamp`."""
    if any(part.startswith("_") for part in name.split(".")) or len(name) < 3:
        return None
    if name.casefold() in GENERIC and not parents:
        return None
    owner = next((found[1] for parent in reversed(parents) if (found := DEFINITION.match(parent.text))), "")
    if name == owner or owner.startswith("_"):
        return None
    full = f"{owner}.{name}" if owner and "." not in name else name
    return ("name", full) if len(full) <= LONGEST_SUBJECT_CHARACTERS else None


def _plain(heading: str) -> str:
    """The heading without emphasis, code marks and numbering."""
    text = re.sub(r"\*\*|__(?=\w)|(?<=\w)__|`", "", heading)
    return re.sub(r"^(?:\d+\.)*\d+\.?\s+|¶$", "", text).strip()


def _answer_below(blocks: list[Block], place: int, characters: int, paragraphs: int) -> str | None:
    """From the first paragraph, or from the second where the first is code or a signature; with those behind
    it for as long as each is taken whole."""
    said: list[str] = []
    left = characters
    for number, block in enumerate(blocks[place + 1 : place + PARAGRAPHS_TRIED + paragraphs]):
        if block.level or (number == PARAGRAPHS_TRIED and not said):
            break
        piece = first_sentences(block.text, left)
        if piece is None:
            if said or (block.text and not CALL.search(block.text)):
                break
            continue
        said.append(piece)
        left -= len(piece) + len(BETWEEN_PARAGRAPHS)
        if len(said) == paragraphs or len(piece) < len(block.text):
            break
    return BETWEEN_PARAGRAPHS.join(said) or None


def first_sentences(paragraph: str, characters: int, sentences: int = 3) -> str | None:
    """As many whole sentences from its beginning as fit, or None where it does not begin with prose."""
    ends = [
        match.end()
        for match in SENTENCE_END.finditer(paragraph)
        if not ABBREVIATION.search(paragraph[: match.start() + 1])
    ]
    if not ends and paragraph[-1:].isalnum():
        # docstrings of one line often leave their full stop away
        paragraph, ends = f"{paragraph}.", [len(paragraph) + 1]
    best = None
    for end in ends[:sentences]:
        piece = paragraph[:end].strip()
        if len(piece) > characters or not is_prose(piece):
            break
        best = piece
    return best


def is_prose(text: str) -> bool:
    """Sentences in words: begins like a sentence, mostly letters, no code, tables or formulas."""
    if len(text) < SMALLEST_ANSWER_CHARACTERS or not (text[0].isupper() or text[0] in '`"“'):
        return False
    if NOT_PROSE.search(text) or NOT_AN_ANSWER.match(text) or text.count("(") != text.count(")"):
        return False
    letters = len(LETTER.findall(text)) + text.count(" ")
    return letters / len(text) >= SMALLEST_LETTER_SHARE and len(WORD.findall(text)) >= SMALLEST_ANSWER_WORDS
