"""The stage that takes over a foreign model, for a training that goes on from it.

Its files are copied into the store, so that every worker on every machine reads the same bytes and a later
run does not hang on a folder or on the hub. What identifies it is its content, wherever it lies.
"""

import difflib
import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from pipeline.config import Config
from pipeline.models.foreign_model import (
    CONFIG,
    INDEX,
    ForeignModel,
    ForeignModelError,
    model_files,
    read_model,
)
from pipeline.models.model import MODEL_FOLDER, Model
from pipeline.store import Attempt, Made, Store, Work, sha256_of
from pipeline.store.artifacts import read_record
from pipeline.tokens import foreign
from pipeline.tokens.vocabulary import COMMIT, FOLDER, HUB_NAME, Vocabulary

GENERATION = "generation_config.json"
FROM_HUB = (CONFIG, GENERATION, INDEX, "*.safetensors", *foreign.FILES)
"""What is fetched: nothing that could run code."""


class StartConfig(Config):
    """The model that pretraining goes on from, with its tokenizer."""

    model: str
    """A folder as transformers' save_pretrained writes it (config.json, safetensors, tokenizer.json); or the
    name or key of a model in this store, such as quickstart/base; or, with its revision, a name on the hub.
    Its weights and its tokenizer are taken over; vocabulary.extend gives it more pieces."""
    revision: str | None = None
    """The commit of a model on the hub (40 hexadecimal digits)."""

    def on_hub(self) -> bool:
        """Whether the model is on the hub, and perhaps not on this machine."""
        return self.revision is not None and not Path(self.model).exists()

    def in_store(self) -> bool:
        """Whether the model is one of the store."""
        return self.revision is None and not Path(self.model).exists()

    def identity(self) -> dict[str, Any]:
        """Nothing: its content is in the key by itself."""
        return {}

    @model_validator(mode="after")
    def model_is_one_and_the_same(self) -> Self:
        if Path(self.model).exists():
            if self.revision:
                raise ValueError("revision is of models on the hub alone; leave it out")
            return self
        if not HUB_NAME.fullmatch(self.model):
            raise ValueError(f"there is no folder {self.model!r}; paths count from here{near(self.model)}")
        if self.on_hub() and not COMMIT.fullmatch(self.revision or ""):
            raise ValueError(
                f"there is no folder {self.model!r}{near(self.model)}; if that is the name of one on the "
                f"hub, set revision (now {self.revision!r}) to its commit of 40 hexadecimal digits, since a "
                "branch may change"
            )
        return self


def near(name: str) -> str:
    """The folder that was probably meant, to be told behind what was found."""
    path = Path(name)
    above = path.parent
    while not above.is_dir():
        path, above = above, above.parent
    beside = [each.name for each in above.iterdir() if each.is_dir()]
    meant = difflib.get_close_matches(path.name, beside, n=1)
    return f"; did you mean {above / meant[0]}?" if meant else ""


class StartModel(Model):
    """The foreign model as it was: `model/` has its configuration, its weights and its tokenizer."""

    stage, role, revision = "start", "start", 1


@dataclass(frozen=True)
class Start:
    """What a training goes on from."""

    artifact: Model
    foreign: ForeignModel | None
    """None in a plan that has not fetched it from the hub yet."""

    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary of the store that the model was made with; None of one that was made elsewhere, or
        whose vocabulary was discarded."""
        if isinstance(self.artifact, StartModel):
            return None
        storage, records = self.artifact.storage, [self.artifact.record]
        own = records[0].files.get(f"{MODEL_FOLDER}/{foreign.TOKENIZER}")
        for record in records:  # grows: from a model to those that it was made from
            for given in record.inputs.values():
                found = read_record(storage, f"{given.stage}/{given.key}")
                if found is None:
                    continue
                if given.stage == Vocabulary.stage:
                    its = found.files.get(f"{FOLDER}/{foreign.TOKENIZER}")
                    same = own is not None and its is not None and own.sha256 == its.sha256
                    return Vocabulary(storage, given.key) if same else None
                if f"{MODEL_FOLDER}/{CONFIG}" in found.files:
                    records.append(found)
        return None


def stored_model(artifact: Model) -> Start:
    """A model of the store as what a training goes on from. Raises ForeignModelError."""
    return Start(artifact, read_model(artifact.model_folder()))


def take_model(store: Store, config: StartConfig) -> Start:
    """The model in a folder or on the hub, as it is kept in the store.

    Raises ForeignModelError, of its tokenizer ForeignTokenizerError.
    """
    files = {} if config.on_hub() else local_files(Path(config.model))
    known = None if config.on_hub() else read_model(Path(config.model))
    made = store.make(
        StartModel,
        config,
        {},
        partial(_build, config=config),
        content={"model": _content(config, files)},
        work=lambda: _work(known),
    )
    if made.exists():
        known = read_model(made.model_folder())
    return Start(made, known)


def local_files(folder: Path) -> dict[str, Path]:
    """All files of the model in a folder that are taken over, by name. Raises ForeignModelError if model
    or tokenizer is not whole, or one does not fit the other."""
    if not folder.is_dir():
        raise ForeignModelError(
            f"start.model: {folder} is a file; name the folder that has it with {CONFIG} and tokenizer.json"
        )
    model, tokenizer = model_files(folder), foreign.tokenizer_files(folder)
    require_fit(folder, read_model(folder), foreign.ids_of(tokenizer))
    more = {GENERATION: folder / GENERATION} if (folder / GENERATION).is_file() else {}
    return model | tokenizer | more


def require_fit(folder: Path, model: ForeignModel, ids: int) -> None:
    """Raises ForeignModelError if the tokenizer has more ids than the model has embeddings."""
    if ids > model.pieces:
        raise ForeignModelError(
            f"start.model: the tokenizer of {folder} has {ids:,} ids, the model embeddings for "
            f"{model.pieces:,} alone (vocab_size of {CONFIG}); it is that of another model: put the "
            "tokenizer that the model was trained with beside it"
        )


def _content(config: StartConfig, files: dict[str, Path]) -> str:
    if config.on_hub():
        return f"{config.model}@{config.revision}"
    hashes = {name: sha256_of(path) for name, path in files.items()}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _work(known: ForeignModel | None) -> Work:
    return {} if known is None else {"bytes": known.bytes, **known.as_counts()}


def _build(attempt: Attempt, config: StartConfig) -> Made:
    folder = _fetched(config) if config.on_hub() else Path(config.model)
    files = local_files(folder)
    for name, path in files.items():
        shutil.copyfile(path, attempt.path(f"{MODEL_FOLDER}/{name}"))
    return Made(files=attempt.publish_folder(MODEL_FOLDER), counts=read_model(folder).as_counts())


def _fetched(config: StartConfig) -> Path:
    """The files of a model on the hub, fetched once to this machine. Raises ForeignModelError."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(config.model, revision=config.revision, allow_patterns=list(FROM_HUB)))
    except (OSError, ValueError) as error:
        raise ForeignModelError(
            f"start.model: {config.model} at the commit {config.revision} could not be fetched from the hub "
            f"({error}); correct the name or the commit, or give a local folder"
        ) from error
