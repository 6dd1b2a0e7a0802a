"""The kinds of documents that the corpus knows, each with a profile of quality rules."""

from typing import Literal

Kind = Literal["web", "documentation", "article", "book", "thread"]
"""Web page; technical documentation; scientific article; book; forum thread or questions and answers."""
