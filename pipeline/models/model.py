"""Models in the store: a folder that transformers opens."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.store import Artifact

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL_FOLDER = "model"
LOOKS = (
    "a model folder has config.json, model.safetensors and tokenizer_config.json, as save_pretrained "
    "writes them; or give a name such as quickstart/chat, or a key"
)
"""What is said of a folder that is none."""


class NotAModelError(InputError):
    """The folder has no model that transformers could open."""

    remedy = "Give a folder written by save_pretrained, a name such as quickstart/chat, or a key."


class Model(Artifact):
    """A language model with its tokenizer, as files that transformers reads. Stages subclass it.

    It is whole (in `model/`), or an adapter (in `adapter/`) beside a base model in the same store.
    """

    def adapter_base(self) -> "Model | None":
        """The base of an adapter that is kept apart; None if the model is whole. Raises AdapterBaseError."""
        from pipeline.models.adapters import ADAPTER_FOLDER, BASE, base_of_adapter

        if f"{ADAPTER_FOLDER}/{BASE}" not in self.record.files:
            return None
        return base_of_adapter(self.storage, self.folder(ADAPTER_FOLDER))

    def model_folder(self) -> Path:
        """A local folder for `AutoModelForCausalLM.from_pretrained`; of an adapter one in the cache, merged
        with its base. Raises InputError if not made yet."""
        if self.adapter_base() is not None:
            from pipeline.models.adapters import merged_folder

            return merged_folder(self)
        return self.folder(MODEL_FOLDER)

    def own_folder(self) -> Path:
        """A local folder with what this stage made: the whole model, or the adapter alone. Raises
        InputError if not made yet."""
        from pipeline.models.adapters import ADAPTER_FOLDER

        return self.folder(MODEL_FOLDER if self.adapter_base() is None else ADAPTER_FOLDER)

    def tokenizer_folder(self) -> Path:
        """A local folder with the tokenizer's files, which may be the model's."""
        base = self.adapter_base()
        return self.folder(MODEL_FOLDER) if base is None else base.tokenizer_folder()

    def load(self, dtype: "torch.dtype | None" = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """Model (in evaluation mode) and tokenizer; `dtype` None keeps that of the file.

        An adapter comes merged with its base. Raises AdapterBaseError, AdapterVocabularyError.
        """
        if self.adapter_base() is not None:
            from pipeline.models.adapters import load_merged

            return load_merged(self, dtype)
        return load_model(self.folder(MODEL_FOLDER), dtype)


def load_model(
    folder: Path, dtype: "torch.dtype | None" = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Model (in evaluation mode) and tokenizer from a local folder; nothing is asked of the network.

    Only safetensors and JSON are read. Raises NotAModelError.
    """
    from transformers import AutoModelForCausalLM

    import pipeline.models.recurrent  # noqa: F401 - whose models transformers opens from then on

    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).exists()]
    if missing and not (folder / "model.safetensors.index.json").exists():
        raise NotAModelError(f"{folder} is no model folder: {' and '.join(missing)} not there; {LOOKS}")
    given: Any = "auto" if dtype is None else dtype
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=given, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    model.train(False)
    return model, load_tokenizer(folder)


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model's or a vocabulary's folder. Raises NotAModelError."""
    from transformers import AutoTokenizer

    if not (folder / "tokenizer_config.json").exists():
        raise NotAModelError(
            f"{folder} has no tokenizer: tokenizer_config.json is not there; "
            "give the folder of a model or of a vocabulary, its name or its key"
        )
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return tokenizer
