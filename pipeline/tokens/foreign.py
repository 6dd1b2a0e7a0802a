"""A tokenizer that was made elsewhere, such as a foreign base model's: where it is, what identifies it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.store.storage import sha256_of
from pipeline.tokens.markers import MARKERS
from pipeline.tokens.vocabulary import VocabularyConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
FILES = (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Of a model's folder, what its tokenizer is read from."""
HUB_PIECES = 128_000
"""Of a tokenizer that is not on this machine: what many have."""


class ForeignTokenizerError(InputError):
    """What `vocabulary.tokenizer` names cannot be read, or not be taken over as it is."""

    remedy = "Name a folder with tokenizer.json, a SentencePiece .model, or a model on the hub."


def content_of(config: VocabularyConfig) -> Mapping[str, str]:
    """What identifies the tokenizer, in the key of what is made from it; empty without one.

    Of a folder or file its content, wherever it lies; of the hub's the name and the commit.
    Raises ForeignTokenizerError.
    """
    if config.tokenizer is None:
        return {}
    if config.on_hub():
        return {"tokenizer": f"{config.tokenizer}@{config.tokenizer_revision}"}
    files = {name: sha256_of(path) for name, path in tokenizer_files(Path(config.tokenizer)).items()}
    return {"tokenizer": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()}


def local_tokenizer(config: VocabularyConfig) -> Path:
    """The folder or file on this machine; what the hub has is fetched once.

    Raises ForeignTokenizerError.
    """
    assert config.tokenizer is not None
    place = _fetched(config) if config.on_hub() else Path(config.tokenizer)
    tokenizer_files(place)
    return place


def _fetched(config: VocabularyConfig) -> Path:
    from huggingface_hub import snapshot_download

    assert config.tokenizer is not None
    try:
        return Path(
            snapshot_download(
                config.tokenizer, revision=config.tokenizer_revision, allow_patterns=list(FILES)
            )
        )
    except (OSError, ValueError) as error:
        raise ForeignTokenizerError(
            f"vocabulary.tokenizer: {config.tokenizer} at the commit {config.tokenizer_revision} could not "
            f"be fetched from the hub ({error}); correct the name or the commit, or give a local folder"
        ) from error


def foreseen_pieces(config: VocabularyConfig) -> int:
    """How many ids the vocabulary will have, for a plan; of a tokenizer that is not fetched yet a guess.

    Raises ForeignTokenizerError.
    """
    if config.tokenizer is None:
        return config.pieces
    own = HUB_PIECES if config.on_hub() else ids_of(tokenizer_files(Path(config.tokenizer)))
    return own + config.extend + len(MARKERS)


def ids_of(files: Mapping[str, Path]) -> int:
    """How many ids the tokenizer in these files has. Raises ForeignTokenizerError."""
    if TOKENIZER in files:
        return read_tokenizer(files[TOKENIZER]).get_vocab_size(with_added_tokens=True)
    from pipeline.tokens.learn import pieces_of

    (model,) = files.values()
    read_sentencepiece(model)
    return pieces_of(model.read_bytes())


def read_tokenizer(path: Path) -> "Tokenizer":
    """The tokenizer.json as `tokenizers` reads it. Raises ForeignTokenizerError."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise _unread(path, error) from error


def read_sentencepiece(path: Path) -> bytes:
    """The content of a .model that SentencePiece can read. Raises ForeignTokenizerError."""
    from sentencepiece import SentencePieceProcessor

    try:
        model = path.read_bytes()
        SentencePieceProcessor(model_proto=model)
    except (OSError, RuntimeError) as error:
        raise _unread(path, error) from error
    return model


def _unread(path: Path, error: Exception) -> ForeignTokenizerError:
    return ForeignTokenizerError(
        f"vocabulary.tokenizer: {path} could not be read ({error}); give a tokenizer.json as transformers or "
        "tokenizers writes it, or a SentencePiece .model"
    )


def tokenizer_files(place: Path) -> dict[str, Path]:
    """The tokenizer's files by name; one that was named is a tokenizer.json or a SentencePiece model.

    Raises ForeignTokenizerError.
    """
    if place.is_file():
        return {TOKENIZER if place.suffix == ".json" else "tokenizer.model": place}
    found = {name: place / name for name in FILES if (place / name).is_file()}
    if TOKENIZER not in found:
        raise ForeignTokenizerError(
            f"vocabulary.tokenizer: {place} has no tokenizer.json; let transformers write one "
            "(save_pretrained of the tokenizer), or name the SentencePiece .model itself"
        )
    return found
