"""Taking over a tokenizer that was made elsewhere: its ids stay, new pieces and markers come behind them."""

import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from pipeline.tokens.extend import extended
from pipeline.tokens.fast_tokenizers import fast_tokenizer
from pipeline.tokens.foreign import TOKENIZER, ForeignTokenizerError, read_sentencepiece, read_tokenizer
from pipeline.tokens.learn import read_model
from pipeline.tokens.markers import BEGIN, END, MARKERS, PAD, PAD_ID, SPACE_SIGN, markers_of, neutralise
from pipeline.tokens.transformers_files import CHECKED_DOCUMENTS, chat_template, load_tokenizer
from pipeline.tokens.vocabulary import TokenizersDifferError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

KINDS = {1: "unigram", 2: "bpe"}
"""SentencePiece's numbers of those model types that can be taken over with their ids."""
ROUNDING = 1e-5
"""Relative; of the sum of a text's scores, which are single-precision numbers."""
UNKNOWN_PIECE, CONTROL, USER_DEFINED = 2, 3, 4
"""Its types of pieces that are markers, and of text that is one piece wherever it stands."""


def take_over(place: Path, folder: Path, sample: Iterable[str], extend: int) -> int:
    """Write the tokenizer at `place` (a folder with tokenizer.json, such a file, or a SentencePiece .model)
    as a vocabulary's folder; returns the number of its ids.

    Every piece keeps its id. Behind them come up to `extend` pieces learned from the texts of `sample`,
    then those markers that it lacks: it keeps its own begin and end of a text, and gets the roles of a
    conversation and a padding that is nothing else. Its chat template is replaced by ours.
    Raises ForeignTokenizerError, CannotExtendError and TokenizersDifferError.
    """
    given = opened(place)
    markers = markers_of(given)
    if _is_sentencepiece(place):
        _require_ids_of_sentencepiece(place, given, islice(sample, CHECKED_DOCUMENTS))
    fast = Tokenizer.from_str(given.backend_tokenizer.to_str())
    fast.no_padding()
    fast.no_truncation()
    if extend:
        fast = extended(fast, (neutralise(text, markers) for text in sample), extend)
    made = _with_markers(fast, given)
    made.chat_template = chat_template(markers_of(made))
    made.save_pretrained(folder)
    written = load_tokenizer(folder)
    _require_old_ids(given, written)
    _require_harmless_text(place, written)
    return len(made)


def opened(place: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer for transformers, with the ids that it has. Raises ForeignTokenizerError."""
    from transformers import PreTrainedTokenizerFast

    kind: Any = PreTrainedTokenizerFast
    if _is_sentencepiece(place):
        found = _of_sentencepiece(place)
    elif place.is_file():
        found = kind(tokenizer_object=read_tokenizer(place))
    else:
        read_tokenizer(place / TOKENIZER)
        try:
            found = kind.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, TypeError) as error:
            raise ForeignTokenizerError(
                f"vocabulary.tokenizer: transformers does not read {place} ({error}); name its "
                "tokenizer.json alone, or correct the files beside it"
            ) from error
    missing = sorted(set(range(len(found))) - set(found.get_vocab().values()))
    if missing:
        raise ForeignTokenizerError(
            f"vocabulary.tokenizer: {place} has no piece for the id {missing[0]} although it has "
            f"{len(found)} pieces; only ids without gaps can be taken over"
        )
    return cast("PreTrainedTokenizerFast", found)


def _is_sentencepiece(place: Path) -> bool:
    return place.is_file() and place.suffix != ".json"


def _of_sentencepiece(place: Path) -> Any:
    """A SentencePiece model with its ids. Raises ForeignTokenizerError for one that would change text."""
    model = read_sentencepiece(place)
    proto = read_model(model)
    rules, kind = proto.normalizer_spec, KINDS.get(proto.trainer_spec.model_type)
    if kind is None:
        raise ForeignTokenizerError(
            f"vocabulary.tokenizer: {place} is neither a BPE nor a unigram model; take one of these, or "
            "learn characters or words with vocabulary.model"
        )
    if rules.precompiled_charsmap or rules.remove_extra_whitespaces:
        raise ForeignTokenizerError(
            f"vocabulary.tokenizer: the normalization of {place} ({rules.name or 'own rules'}) changes text, "
            "which a corpus would lose; take one with normalization_rule_name=identity and "
            "remove_extra_whitespaces=false"
        )
    fast = _bpe(model, proto) if kind == "bpe" else fast_tokenizer(model, kind)
    if rules.add_dummy_prefix:
        fast.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE_SIGN), fast.normalizer])
        fast.decoder = decoders.Sequence([fast.decoder, decoders.Strip(" ", 1, 0)])
    texts = [each.piece for each in proto.pieces if each.type == USER_DEFINED]
    fast.add_tokens([AddedToken(text, normalized=False) for text in texts])
    control = [each.piece for each in proto.pieces if each.type in (UNKNOWN_PIECE, CONTROL)]
    return _wrapped(fast, _names(proto), control)


def _require_ids_of_sentencepiece(place: Path, made: "PreTrainedTokenizerFast", texts: Iterable[str]) -> None:
    """Raises ForeignTokenizerError unless its ids are those of SentencePiece itself; of a unigram model
    others that are as likely will do, since sums of scores are rounded in another order there."""
    model, markers = SentencePieceProcessor(model_file=str(place)), markers_of(made)
    is_unigram = isinstance(made.backend_tokenizer.model, models.Unigram)
    for text in texts:
        harmless = neutralise(text, markers)
        expected, found = model.encode(harmless), made.encode(harmless, add_special_tokens=False)
        likelihoods = [math.fsum(map(model.get_score, ids)) for ids in (expected, found)]
        if expected != found and not (is_unigram and math.isclose(*likelihoods, rel_tol=ROUNDING)):
            pairs = enumerate(zip(expected, found, strict=False))
            agreed = next((at for at, (one, other) in pairs if one != other), 0)
            raise ForeignTokenizerError(
                f"vocabulary.tokenizer: behind {model.decode(expected[:agreed])[-40:]!r} SentencePiece goes "
                f"on with the ids {expected[agreed : agreed + 5]}, its form for transformers with "
                f"{found[agreed : agreed + 5]}; {place} has rules that this form lacks, so name a "
                "tokenizer.json that its makers give"
            )


def _names(proto: Any) -> dict[str, str]:
    """transformers' names of the markers that the model has."""
    spec = proto.trainer_spec
    ids = {
        "unk_token": spec.unk_id,
        "bos_token": spec.bos_id,
        "eos_token": spec.eos_id,
        "pad_token": spec.pad_id,
    }
    return {name: proto.pieces[index].piece for name, index in ids.items() if 0 <= index < len(proto.pieces)}


def _bpe(model: bytes, proto: Any) -> Tokenizer:
    """By transformers' conversion, which finds the merges."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tokenizer.model").write_bytes(model)
        settings = {
            "tokenizer_class": "LlamaTokenizer",
            "legacy": False,
            "add_prefix_space": False,
            **_names(proto),
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        given = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        made: Any = Tokenizer.from_str(given.backend_tokenizer.to_str())
    made.normalizer, made.pre_tokenizer = normalizers.Replace(" ", SPACE_SIGN), None
    return cast(Tokenizer, made)


def _with_markers(fast: Tokenizer, given: "PreTrainedTokenizerFast") -> Any:
    """The tokenizer with a begin, an end and a padding, each its own where it has one, and all roles."""
    names = {
        "unk_token": given.unk_token,
        "bos_token": given.bos_token or BEGIN,
        "eos_token": given.eos_token or END,
    }
    # A padding that is the end, too, would hide the end from whoever leaves out the padding.
    own_pad = given.pad_token if given.pad_token not in names.values() else None
    names["pad_token"] = own_pad or PAD
    roles = MARKERS[PAD_ID + 1 :]
    return _wrapped(fast, names, [*markers_of(given, ours=()), *roles])


def _wrapped(fast: Tokenizer, names: dict[str, str | None] | dict[str, str], others: Sequence[str]) -> Any:
    """For transformers, with markers by name and others; those that the vocabulary lacks get the next ids."""
    from transformers import PreTrainedTokenizerFast

    named = {name: text for name, text in names.items() if text is not None}
    special = list(dict.fromkeys([*named.values(), *others]))
    fast.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    wrapper: Any = PreTrainedTokenizerFast
    return wrapper(
        tokenizer_object=fast,
        **named,
        extra_special_tokens=[text for text in special if text not in named.values()],
        clean_up_tokenization_spaces=False,
    )


def _require_old_ids(given: "PreTrainedTokenizerFast", made: "PreTrainedTokenizerFast") -> None:
    """Raises TokenizersDifferError if a piece has another id now."""
    old, new = given.get_vocab(), made.get_vocab()
    moved = [piece for piece, index in old.items() if new.get(piece) != index]
    if moved:
        raise TokenizersDifferError(
            f"{len(moved)} pieces of the tokenizer that was taken over have other ids, such as {moved[0]!r} "
            f"({old[moved[0]]}, now {new.get(moved[0])}); is the installed transformers the version that "
            "pyproject.toml names?"
        )


def _require_harmless_text(place: Path, made: "PreTrainedTokenizerFast") -> None:
    """Raises ForeignTokenizerError if neutralised text is taken for a marker all the same."""
    markers, ids = markers_of(made), made.get_vocab()
    found = set(made.encode(neutralise(" ".join(markers), markers), add_special_tokens=False))
    # What has no bytes for a joiner has a sign for the unknown, which is no marker unless it is one, too.
    unknown = {made.unk_token_id} - {made.bos_token_id, made.eos_token_id}
    taken = sorted((found & {ids[marker] for marker in markers if marker in ids}) - unknown)
    if taken:
        raise ForeignTokenizerError(
            f"vocabulary.tokenizer: with {place} text is taken for the marker "
            f"{made.convert_ids_to_tokens(taken[0])!r} although a joiner stands inside it; a page could "
            "forge the turn of a conversation, so name another tokenizer"
        )
