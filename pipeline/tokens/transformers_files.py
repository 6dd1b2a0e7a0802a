"""The vocabulary as the folder that transformers reads: tokenizer, special tokens, chat template."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sentencepiece
import tokenizers

from pipeline.tokens.encoders import MODEL, Ids
from pipeline.tokens.fast_tokenizers import fast_tokenizer
from pipeline.tokens.markers import (
    ASSISTANT,
    BEGIN,
    END,
    JOINER,
    MARKERS,
    PAD,
    PAD_ID,
    ROLES,
    TURN_END,
    UNKNOWN,
)
from pipeline.tokens.vocabulary import TokenizersDifferError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHECKED_DOCUMENTS = 100
"""Texts whose ids are compared when the folder is made."""

SPECIAL = {
    "unk_token": UNKNOWN,
    "bos_token": BEGIN,
    "eos_token": END,
    "pad_token": PAD,
    "extra_special_tokens": list(MARKERS[PAD_ID + 1 :]),
    "add_bos_token": False,
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
}


def chat_template(markers: tuple[str, ...] = MARKERS) -> str:
    """The conversation as text: <s>, then for each message its role's marker, the content, <|end|>.

    What stands inside `generation` is what the assistant must write itself: its content and the
    <|end|> behind it. Markers in a content are neutralised, so that no message can forge a turn.
    """
    harmless = "".join(
        f" | replace({_quoted(marker)}, {_quoted(marker[0] + JOINER + marker[1:])})" for marker in markers
    )
    roles = ", ".join(f"'{role}'" for role in ROLES)
    return (
        "{{- bos_token -}}\n"
        "{%- for message in messages -%}\n"
        f"{{%- if message['role'] not in [{roles}] -%}}\n"
        f"{{{{- raise_exception('a role is one of {', '.join(ROLES)}; found ' ~ message['role']) -}}}}\n"
        "{%- endif -%}\n"
        f"{{%- set content = message['content']{harmless} -%}}\n"
        "{{- '<|' ~ message['role'] ~ '|>' -}}\n"
        "{%- if message['role'] == 'assistant' -%}\n"
        f"{{%- generation -%}}{{{{- content ~ '{TURN_END}' -}}}}{{%- endgeneration -%}}\n"
        "{%- else -%}\n"
        f"{{{{- content ~ '{TURN_END}' -}}}}\n"
        "{%- endif -%}\n"
        "{%- endfor -%}\n"
        f"{{%- if add_generation_prompt -%}}{{{{- '{ASSISTANT}' -}}}}{{%- endif -%}}"
    )


def _quoted(text: str) -> str:
    """As a string of Jinja, which reads JSON's escapes."""
    return json.dumps(text, ensure_ascii=False)


def write_folder(model: bytes, kind: str, folder: Path) -> None:
    """Write `tokenizer.model` and what `AutoTokenizer.from_pretrained` needs beside it.

    A word model has no `tokenizer.model`: SentencePiece would write a word that it does not know in
    bytes alone, its space too, which then no longer comes back as a space.
    Raises TokenizersDifferError if transformers made something else than the model's vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind != "word":
        (folder / MODEL).write_bytes(model)
    tokenizer = _converted(model) if kind == "bpe" else _wrapped(fast_tokenizer(model, kind))
    tokenizer.chat_template = chat_template()
    tokenizer.save_pretrained(folder)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()
    if len(load_tokenizer(folder)) != pieces:
        raise TokenizersDifferError(
            f"transformers reads {len(load_tokenizer(folder))} pieces from {folder}, the model has {pieces}; "
            "is the installed transformers the version that pyproject.toml names?"
        )


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return cast("PreTrainedTokenizerFast", found)


def _wrapped(tokenizer: tokenizers.Tokenizer) -> Any:
    from transformers import PreTrainedTokenizerFast

    wrapper: Any = PreTrainedTokenizerFast
    return wrapper(tokenizer_object=tokenizer, **SPECIAL)


def _converted(model: bytes) -> Any:
    """transformers' own conversion, which also finds the merges."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / MODEL).write_bytes(model)
        config = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_prefix_space": False, **SPECIAL}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


class Comparison:
    """Compares SentencePiece's ids of neutralised texts with those that transformers gives.

    A folder without `tokenizer.model` has nothing to compare.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._fast = folder, None
        if (folder / MODEL).exists():
            self._fast = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

    def __call__(self, texts: Iterable[str], ids: Iterable[Ids]) -> None:
        """Raises TokenizersDifferError at the first difference, with the place in the text."""
        if self._fast is None:
            return
        for text, given in zip(texts, ids, strict=True):
            found, expected = self._fast.encode(text, add_special_tokens=False).ids, given.tolist()
            if expected != found:
                raise _difference(self._folder, expected, found)


def _difference(folder: Path, expected: list[int], found: list[int]) -> TokenizersDifferError:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / MODEL))
    pairs = zip(expected, found, strict=False)
    agreed = next((place for place, pair in enumerate(pairs) if pair[0] != pair[1]), 0)
    before = processor.decode(expected[:agreed])[-40:]
    return TokenizersDifferError(
        f"{folder}: behind {before!r} SentencePiece goes on with {expected[agreed : agreed + 5]}, "
        f"transformers with {found[agreed : agreed + 5]}; was the text neutralised first, and is the "
        "installed transformers the version that pyproject.toml names?"
    )


def copy_folder(source: Path, target: Path) -> None:
    """Put the tokenizer's files beside a model's."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        shutil.copyfile(file, target / file.name)
