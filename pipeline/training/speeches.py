"""Questions and answers out of plays: what one speaker says, and what the next one answers.

A speech begins with its speaker's name on a line of its own, in capitals (`HAMLET`, `First Clown.`) or with a
colon (`First Citizen:`), as plays are printed on the web and in plain text. Nothing is made up: both are
verbatim speeches of one scene, one behind the other.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from pipeline.training.pairs import Pair

SPEAKER = re.compile(
    r"^(?:\*\*)?(?:(?P<capitals>[A-ZÀ-Ý][A-ZÀ-Ý'’.\- ]{1,40}?)|(?P<named>[A-ZÀ-Ý][\w'’.\- ]{1,40}?)(?=:))"
    r"[.:]?(?:\*\*)?[.:]?$"
)
"""In capitals, or of any letters before a colon."""
SCENE = re.compile(
    r"^#|^(?:ACT|SCENE|PROLOGUE|EPILOGUE|ATO|CENA|PRÓLOGO|EPÍLOGO|QUADRO)\b"
    r"|^(?:Act|Scene|Ato|Cena) [IVX\d]+\b"
)
"""Where nobody answers what was said before."""
DIRECTION = re.compile(r"\[[^\]]*\]|\([^)]*\)|_[^_]*_")
"""What is done on the stage, inside a speech."""
STAGE = re.compile(
    r"^(?:Enter|Exit|Exeunt|Re-enter|Flourish|Alarum|Retreat|Sennet|Dies|Aside|Entra|Entram|Sai|Saem)\b"
)
"""The same as a line of its own, where quotation marks do not tell it from what is said."""
LEAST_CHARACTERS = 12
"""Of a speech that is asked or answered: `Ay, my lord.` is nearly always said."""


@dataclass(frozen=True)
class Speech:
    """What somebody says, in lines as they are printed."""

    speaker: str
    text: str


def find_speech_pairs(text: str, characters: int) -> list[Pair]:
    """Every speech with the one that answers it, by another speaker of the same scene, in the order of the
    text; neither is longer than `characters`."""
    found = []
    for scene in scenes(text):
        for asked, answered in pairwise(scene):
            sizes = len(asked.text), len(answered.text)
            if (
                asked.speaker != answered.speaker
                and LEAST_CHARACTERS <= min(sizes) <= max(sizes) <= characters
            ):
                found.append(Pair("question", asked.text, "", answered.text))
    return found


def scenes(text: str) -> Iterator[list[Speech]]:
    """The speeches of each scene. What stands before the first speaker is no speech."""
    speeches: list[Speech] = []
    speaker: str | None = None
    said: list[str] = []
    for line in [*text.split("\n"), "# end"]:
        name = speaker_of(line)
        if name is None and not SCENE.match(line.strip()):
            said.append(line.removeprefix(">").strip())
            continue
        if speaker is not None and (whole := _spoken(said)):
            speeches.append(Speech(speaker, whole))
        speaker, said = name, []
        if name is None:
            if speeches:
                yield speeches
            speeches = []


def speaker_of(line: str) -> str | None:
    """Who speaks next, if the line is the name of a speaker alone."""
    found = SPEAKER.match(line.strip())
    if found is None:
        return None
    name: str = found["capitals"] or found["named"]
    return None if SCENE.match(name) else name.strip(" .").upper()


def _spoken(lines: list[str]) -> str:
    """The lines of a speech without what is done meanwhile; verses stay lines."""
    said = (" ".join(DIRECTION.sub(" ", line).split()) for line in lines if not STAGE.match(line))
    return "\n".join(line for line in said if line)
