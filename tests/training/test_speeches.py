"""Plays as they are printed on the web and in plain text, turned into what is asked and answered."""

import pytest

from pipeline.training.speeches import Speech, find_speech_pairs, scenes, speaker_of

ON_THE_WEB = """# SCENE I. Elsinore. A platform before the castle.

> FRANCISCO at his post. Enter to him BERNARDO

BERNARDO

> Who's there in the dark?

FRANCISCO

> Nay, answer me: stand, and unfold
> yourself.

BERNARDO

> Long live the king!

> Exit

FRANCISCO

> Bernardo?

# SCENE II. A room of state in the castle.

KING CLAUDIUS

> Though yet of Hamlet our dear brother's death
> The memory be green [weeps] and that it us befitted
"""
IN_PLAIN_TEXT = """First Citizen:
Before we proceed any further, hear me speak.

All:
Speak, speak, good citizen.

First Citizen:
You are all resolved rather to die than to famish?
"""
IN_CAPITALS = """ACT I
BERNARDO.
Who’s there in the dark?
FRANCISCO.
Nay, answer me. Stand and unfold yourself.
 [_Exit._]
"""


def test_a_speech_is_answered_by_the_next_of_the_same_scene():
    found = [(pair.subject, pair.answer) for pair in find_speech_pairs(ON_THE_WEB, 300)]
    assert found == [
        ("Who's there in the dark?", "Nay, answer me: stand, and unfold\nyourself."),
        ("Nay, answer me: stand, and unfold\nyourself.", "Long live the king!"),
    ]
    assert {pair.kind for pair in find_speech_pairs(ON_THE_WEB, 300)} == {"question"}


def test_scenes_end_where_the_next_begins_and_stage_directions_are_not_said():
    first, second = scenes(ON_THE_WEB)
    assert [speech.speaker for speech in first] == ["BERNARDO", "FRANCISCO", "BERNARDO", "FRANCISCO"]
    assert first[2].text == "Long live the king!"
    (king,) = second
    assert king == Speech(
        "KING CLAUDIUS",
        "Though yet of Hamlet our dear brother's death\nThe memory be green and that it us befitted",
    )


@pytest.mark.parametrize(("text", "speeches"), [(IN_PLAIN_TEXT, 3), (IN_CAPITALS, 2)])
def test_plays_in_plain_text_are_read_too(text: str, speeches: int):
    (scene,) = scenes(text)
    assert len(scene) == speeches
    assert not any("[" in speech.text or "Exit" in speech.text for speech in scene)


def test_speeches_too_long_or_too_short_are_left_out():
    assert not find_speech_pairs(ON_THE_WEB, 30)[1:]
    assert not find_speech_pairs("A:\nYes.\n\nB:\nSo be it, my lord, as you have said.\n", 300)
    assert not find_speech_pairs(
        "A:\nSo be it, my lord, as it is.\n\nA:\nAnd so it shall be, my lord.\n", 300
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("HAMLET", "HAMLET"),
        ("**BERNARDO**", "BERNARDO"),
        ("First Clown:", "FIRST CLOWN"),
        ("ROS.", "ROS"),
        ("BRÁS CUBAS.", "BRÁS CUBAS"),
        ("SCENE II", None),
        ("> HAMLET", None),
        ("Who's there?", None),
        ("I am thy father's spirit.", None),
        ("O", None),
    ],
)
def test_a_speaker_is_a_name_on_a_line_of_its_own(line: str, name: str | None):
    assert speaker_of(line) == name


def test_prose_has_no_speeches():
    assert not find_speech_pairs(
        "# os\n\nThis module provides a portable way.\n\n## os.open\n\nOpen a file.\n", 300
    )
