import math

import pytest
import torch

from pipeline.evaluation import held_out
from pipeline.evaluation.evaluate import TextLostError
from pipeline.evaluation.held_out import cut_pieces
from pipeline.evaluation.likelihood import bits_per_byte, cut, nats_of_pieces, token_nats
from pipeline.tokens.vocabulary import Vocabulary
from tests.evaluation.stand_ins import Documents, random_model
from tests.tokens.texts import PORTUGUESE

PIECES = [[1, 5, 9, 300], [1, 7], [1, *range(20, 60)]]


def test_a_uniform_model_needs_log2_of_the_vocabulary_for_each_token() -> None:
    model = random_model(1024)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    tokens = sum(len(piece) - 1 for piece in PIECES)
    found = bits_per_byte(sum(nats_of_pieces(model, PIECES)), text_bytes=100)
    assert found == pytest.approx(math.log2(1024) * tokens / 100, rel=1e-6)


def test_batched_and_padded_pieces_cost_what_each_costs_alone() -> None:
    model = random_model(1024)
    together = token_nats(model, PIECES)
    for piece, nats in zip(PIECES, together, strict=True):
        logits = model(input_ids=torch.tensor([piece])).logits[0].log_softmax(-1)
        alone = [-logits[at, token].item() for at, token in enumerate(piece[1:])]
        assert nats == pytest.approx(alone, rel=1e-4)


def test_every_piece_begins_with_bos_and_is_one_row_long() -> None:
    assert cut(range(10, 20), row_tokens=5, bos=1) == [
        [1, 10, 11, 12, 13],
        [1, 14, 15, 16, 17],
        [1, 18, 19],
    ]
    assert cut([], row_tokens=5, bos=1) == []


def test_pieces_that_do_not_spell_their_text_are_refused(
    small_vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"id": "0", "url": "", "language": "en", "text": PORTUGUESE}
    monkeypatch.setattr(held_out, "piece_bytes", lambda tokenizer: [b"?"] * len(tokenizer))
    with pytest.raises(TextLostError, match="its tokens do not spell its text"):
        cut_pieces([row], small_vocabulary, row_tokens=16)


def test_the_pieces_of_a_document_spell_its_text(small_vocabulary: Vocabulary, documents: Documents) -> None:
    texts = [documents[0][1], PORTUGUESE, "<s> ▁ 漢字 \U0001f600 é\n\n\tend"]
    rows = [{"id": f"{at}", "url": "", "language": "en", "text": text} for at, text in enumerate(texts)]
    pieces = cut_pieces(rows, small_vocabulary, row_tokens=16)
    assert all(len(piece["ids"]) <= 16 and piece["ids"][0] == 1 for piece in pieces)
    for at in (0, 1):
        spelt = b"".join(piece["text"] for piece in pieces if piece["document"] == f"{at}")
        assert spelt.decode() == texts[at]
