"""Writing a model as transformers reads it, with its tokenizer."""

import shutil
from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models.generation import context_tokens, stop_ids
from pipeline.models.model import Model

OF_THE_MODEL = ("config.json", "generation_config.json", "model.safetensors.index.json")


def save_language_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, base: Model, folder: Path
) -> None:
    """The model with the base's tokenizer, and what `generate` needs to end its answers."""
    model.save_pretrained(folder)
    GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stop_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_length=context_tokens(model),
    ).save_pretrained(folder)
    copy_tokenizer(base, folder)


def copy_tokenizer(base: Model, folder: Path) -> None:
    """The files of the base model's tokenizer, as they are."""
    for file in sorted(base.tokenizer_folder().iterdir()):
        if file.name not in OF_THE_MODEL and file.suffix != ".safetensors":
            shutil.copyfile(file, folder / file.name)
