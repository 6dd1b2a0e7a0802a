"""What is hidden and what is asked for: nothing is lost, all is repeatable, and shares are the papers'."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.objectives.batches import EVALUATION, SequenceBatch
from pipeline.models.objectives.denoising import SHORTEST_NOISED, Denoising, Infilling, SpanCorruption
from pipeline.models.objectives.masking import Masking, NextSentence
from pipeline.tokens.rows import NO_LABEL, Rows
from tests.training.toys import BOS, EOS, PAD, rows_of, toy_texts

MASK, FIRST_SENTINEL, IDS = 259, 260, 360
SENTINELS = tuple(range(FIRST_SENTINEL, IDS))
ENDS = np.isin(np.arange(IDS), [ord("."), ord("\n")])
T5 = SpanCorruption(0.15, 3.0, SENTINELS, EOS)
BART = Infilling(0.3, 3.0, MASK, EOS, ENDS)
TEXTS = st.lists(st.integers(0, 255), min_size=SHORTEST_NOISED - 1, max_size=200)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return rows_of(tmp_path_factory.mktemp("rows"), "train", toy_texts(60, seed=3), row_tokens=128)


def masking(static: bool = False) -> Masking:
    return Masking(seed=5, share=0.15, mask=MASK, ordinary=np.arange(256), static=static)


def put_back(read: np.ndarray, written: np.ndarray) -> list[int]:
    """T5's noise undone, token by token, by whoever only knows what sentinels are."""
    missing: dict[int, list[int]] = {}
    for token in written.tolist():
        if token in SENTINELS:
            missing[token] = []
        else:
            missing[max(missing)].append(token)
    assert missing[max(missing)].pop() == EOS  # what ends all that is written
    text: list[int] = []
    for token in read.tolist():
        text += missing.pop(token) if token in missing else [token]
    assert not missing
    return text


@given(TEXTS, st.integers(0, 1000))
def test_what_t5_reads_and_writes_are_the_text_together(text, seed):
    tokens = np.array([BOS, *text, EOS])
    read, written = T5(tokens, np.random.default_rng(seed))
    assert put_back(read, written) == tokens.tolist()
    assert len(read) <= len(tokens)
    assert len(written) == T5.written(len(tokens))
    sentinels = [token for token in read.tolist() if token in SENTINELS]
    assert sentinels == list(SENTINELS[: len(sentinels)])


@given(st.integers(20, 2000), st.integers(0, 100))
def test_t5_hides_the_share_and_the_mean_span_of_its_paper(length, seed):
    tokens = np.array([BOS, *[7] * length, EOS])
    _, written = T5(tokens, np.random.default_rng(seed))
    hidden = sum(token not in SENTINELS for token in written.tolist()) - 1
    spans = sum(token in SENTINELS for token in written.tolist())
    assert hidden == pytest.approx(0.15 * length, abs=1)
    assert spans == pytest.approx(min(len(SENTINELS), hidden / 3), abs=0.51)


@given(TEXTS, st.integers(0, 1000))
def test_what_bart_reads_has_no_token_that_the_text_has_not(text, seed):
    tokens = np.array([BOS, *text, EOS])
    read, written = BART(tokens, np.random.default_rng(seed))
    assert written.tolist() == tokens[1:].tolist()
    assert len(read) <= len(tokens)
    assert read[0] == BOS
    assert read[-1] == EOS
    kept = Counter(token for token in read[1:-1].tolist() if token != MASK)
    assert not kept - Counter(text)
    assert len(text) - sum(kept.values()) == round(0.3 * len(text))


def test_bart_spans_are_as_long_as_poisson_has_them():
    """Of a text whose tokens all differ, the neighbours of a mask tell how much it covers."""
    lengths: list[int] = []
    tokens = np.array([BOS, *range(1000, 5000), EOS])
    noise = Infilling(0.3, 3.0, MASK, EOS, np.zeros(6000, np.bool_))
    for seed in range(10):
        read = noise(tokens, np.random.default_rng(seed))[0].tolist()
        around = zip(read[1:-3], read[2:-2], read[3:-1], strict=True)
        lengths += [b - a - 1 for a, middle, b in around if middle == MASK and a >= 1000 and b >= 1000]
    assert np.mean(lengths) == pytest.approx(3, rel=0.05)
    for length in range(7):
        expected = math.exp(-3) * 3**length / math.factorial(length)
        assert np.mean(np.array(lengths) == length) == pytest.approx(expected, abs=0.02)


def test_bart_changes_the_order_of_whole_sentences():
    sentences = [[65 + number] * 5 + [ord(".")] for number in range(6)]
    text = [token for sentence in sentences for token in sentence]
    noise = Infilling(1e-9, 3.0, MASK, EOS, ENDS)
    read, _ = noise(np.array([BOS, *text, EOS]), np.random.default_rng(1))
    found = np.array(read[1:-1]).reshape(-1, 6).tolist()
    assert sorted(found) == sentences
    assert found != sentences


@given(st.integers(2, 40), st.sampled_from([T5, BART]), st.integers(0, 50))
def test_a_row_of_any_pieces_has_room_in_the_decoder(longest, noise, seed):
    objective = Denoising(0, noise, 256, PAD, PAD)
    random, left, written = np.random.default_rng(seed), 256, 0
    while left:
        length = min(left, int(random.integers(1, longest + 1)))
        written, left = written + (noise.written(length) if length >= SHORTEST_NOISED else 0), left - length
    assert written <= objective.decoder_tokens


def test_masks_hide_a_share_and_tell_what_was_there(rows):
    numbers = np.arange(len(rows))
    plain, hidden = rows.batch(numbers), masking()(rows, numbers, 1)
    chosen = hidden.labels_BT != NO_LABEL
    assert (hidden.labels_BT[chosen] == plain.tokens_BT[chosen]).all()
    assert (hidden.tokens_BT[~chosen] == plain.tokens_BT[~chosen]).all()
    ordinary = plain.tokens_BT < 256
    assert chosen.sum() / ordinary.sum() == pytest.approx(0.15, abs=0.02)
    assert not chosen[~ordinary].any()
    now = hidden.tokens_BT[chosen]
    assert (now == MASK).mean() == pytest.approx(0.8, abs=0.05)
    assert (now == plain.tokens_BT[chosen]).mean() == pytest.approx(0.1, abs=0.05)


def test_every_piece_has_something_to_tell(rows):
    batch = masking()(rows, np.arange(len(rows)), 1)
    plain = rows.batch(np.arange(len(rows)))
    for row in range(len(rows)):
        for piece in range(plain.documents_BT[row].max() + 1):
            here = plain.documents_BT[row] == piece
            if (plain.tokens_BT[row][here] < 256).any():
                assert (batch.labels_BT[row][here] != NO_LABEL).any()


def test_static_masks_stay_and_dynamic_masks_change(rows):
    numbers = np.arange(8)
    for static in (True, False):
        one, other = (masking(static)(rows, numbers, step).tokens_BT for step in (1, 2))
        assert (one == other).all() == static


@pytest.mark.parametrize(
    "objective", [masking(), NextSentence(masking(True), EOS), Denoising(5, T5, 128, PAD, PAD)]
)
def test_noise_hangs_on_seed_step_and_row_alone(rows, objective):
    together = objective(rows, np.array([4, 7, 2]), 3)
    alone = objective(rows, np.array([7]), 3)
    for name in type(together).__dataclass_fields__:
        assert (getattr(together, name)[1] == getattr(alone, name)[0]).all()
    again = objective(rows, np.array([7]), EVALUATION)
    assert (again.tokens_BT == objective(rows, np.array([7]), EVALUATION).tokens_BT).all()


def test_every_other_second_segment_is_of_another_document(rows):
    objective = NextSentence(Masking(5, 1e-9, MASK, np.arange(256)), EOS)
    follows, plain = [], rows.batch(np.arange(len(rows)))
    for step in range(1, 9):
        batch = objective(rows, np.arange(len(rows)), step)
        shown = np.where(batch.labels_BT != NO_LABEL, batch.labels_BT, batch.tokens_BT)
        for row, column in zip(*np.nonzero(batch.follows_BT != NO_LABEL), strict=True):
            here = plain.documents_BT[row] == plain.documents_BT[row, column]
            first, second = here & (batch.segments_BT[row] == 0), here & (batch.segments_BT[row] == 1)
            border = np.flatnonzero(first)[-1]
            same = (shown[row] == plain.tokens_BT[row]) | (np.arange(128) == border)
            assert same[first].all()
            assert shown[row, border] == EOS
            if batch.follows_BT[row, column]:
                assert same[second].all()
            follows.append(batch.follows_BT[row, column])
    assert np.mean(follows) == pytest.approx(0.5, abs=0.06)


def test_a_decoder_is_given_what_it_has_written_so_far(rows):
    batch = Denoising(5, BART, 128, EOS, PAD)(rows, np.arange(8), 1)
    assert isinstance(batch, SequenceBatch)
    for row in range(8):
        for piece in range(batch.documents_BT[row].max() + 1):
            here = batch.decoder_documents_BD[row] == piece
            given_, wanted = batch.decoder_tokens_BD[row][here], batch.labels_BT[row][here]
            if here.any():
                assert given_[0] == EOS
                assert (given_[1:] == wanted[:-1]).all()
    plain = rows.batch(np.arange(8))
    written = (batch.labels_BT != NO_LABEL).sum()
    lengths = [np.bincount(each[each >= 0]) for each in plain.documents_BT]
    assert written == sum((each - 1)[each >= SHORTEST_NOISED].sum() for each in lengths)
