"""Texts within a corpus: documents of one language, source or quality, packed into rows of their own, so that
a training can mix them by shares."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from pipeline.config import Config
from pipeline.corpus.told_languages import primary

REST = "rest"
"""The documents that no text of the configuration takes."""
COLUMNS = ("source", "kind", "quality")
"""What a document is judged by, beside its URL and language."""


class TextConfig(Config):
    """Documents that meet every condition that is set. Each belongs to the first text that takes it."""

    name: str
    """What the text is called in [pretrain.mixture] and in figures."""
    languages: tuple[str, ...] = ()
    """As `clean` tells them, such as pt-BR; pt takes all its varieties."""
    sources: tuple[str, ...] = ()
    """Names of [[sources]], or crawl."""
    hosts: tuple[str, ...] = ()
    """Host names; example.org takes www.example.org too."""
    kinds: tuple[str, ...] = ()
    """web, documentation, article, book or thread."""
    least_quality: float | None = Field(default=None, ge=0, le=1)
    """Of the classifier's score."""

    @model_validator(mode="after")
    def is_named_and_says_something(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.name) or self.name == REST:
            raise ValueError(
                f"name is {self.name!r}; letters without accents, digits, _ and - are allowed, and {REST} is "
                'what all texts leave; try "portuguese"'
            )
        if not (self.languages or self.sources or self.hosts or self.kinds or self.least_quality is not None):
            raise ValueError(
                f"the text {self.name} takes every document: set one of languages, sources, hosts, kinds and "
                "least_quality, or leave it out"
            )
        return self

    def takes(self, document: Mapping[str, Any]) -> bool:
        """Whether the document, with its `url`, `language` and COLUMNS, meets every condition."""
        language, quality = document["language"], document["quality"]
        return (
            (not self.languages or language in self.languages or primary(language) in self.languages)
            and (not self.sources or document["source"] in self.sources)
            and (not self.kinds or document["kind"] in self.kinds)
            and (not self.hosts or _is_of(document["url"], self.hosts))
            and (self.least_quality is None or (quality is not None and quality >= self.least_quality))
        )


def text_of(document: Mapping[str, Any], texts: Sequence[TextConfig]) -> str:
    """The name of the text that a document belongs to."""
    return next((text.name for text in texts if text.takes(document)), REST)


def names_of(texts: Sequence[TextConfig]) -> list[str]:
    """Of all texts that there may be, the rest last; empty where the corpus is one text."""
    return [*(text.name for text in texts), REST] if texts else []


def _is_of(url: str, hosts: Sequence[str]) -> bool:
    host = urlsplit(url).hostname or ""
    return any(host == name or host.endswith(f".{name}") for name in hosts)
