"""Reading conversations that users bring: JSON lines, Parquet, or what `datasets` loads; and judging them."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import InputError
from pipeline.training.conversations import EXAMPLE, ConversationsConfig, user_source
from pipeline.training.user_rows import short

ROLES = ("system", "user", "assistant")


class MessagesMissingError(InputError):
    """A row has no list of messages."""

    remedy = "Give each row a list `messages` of {role, content}."


class RoleError(InputError):
    """A message has a role that nobody plays here."""

    remedy = "Use the roles system, user and assistant."


class EmptyTurnError(InputError):
    """A message says nothing, or what it says is not text."""

    remedy = "Remove the turn, or give it text."


class TurnOrderError(InputError):
    """The turns don't go user, assistant, user, assistant … to an assistant's answer at the end."""

    remedy = "Let user and assistant take turns, the user first and the assistant last."


def read_messages(config: ConversationsConfig) -> Iterator[dict[str, Any]]:
    """Every conversation as id, url, language, messages, question (the first), answer (the last).

    Raises SourceError if the source cannot be opened, RowError, and the errors of this module at the
    first row that is wrong.
    """
    for number, row in user_source(config).rows():
        where = f"{config.source}, row {number}"
        messages = checked(row, where)
        canonical = json.dumps(messages, sort_keys=True, ensure_ascii=False)
        yield {
            "id": hashlib.sha256(canonical.encode()).hexdigest()[:32],
            "url": str(row.get("url") or ""),
            "language": str(row.get("language") or ""),
            "messages": messages,
            "question": next(turn["content"] for turn in messages if turn["role"] == "user"),
            "answer": messages[-1]["content"],
        }


def checked(row: Mapping[str, Any], where: str) -> list[dict[str, str]]:
    """The row's messages with role and content alone. Raises this module's errors, beginning with `where`."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        found = (
            "an empty list" if messages == [] else f"only {', '.join(map(repr, sorted(row))) or 'nothing'}"
        )
        if messages is not None and messages != []:
            found = f"{type(messages).__name__} under that name"
        raise MessagesMissingError(f"{where}: no list of messages, found {found}; write rows like {EXAMPLE}")
    turns = [_turn(turn, f"{where}, message {number}") for number, turn in enumerate(messages, 1)]
    expected = "user"
    for number, turn in enumerate(turns, 1):
        if turn["role"] == "system" and number == 1:
            continue
        if turn["role"] != expected:
            raise TurnOrderError(
                f"{where}, message {number}: the role is {turn['role']!r} where {expected!r} should speak; "
                "join messages of one speaker into one, and put a system message first"
            )
        expected = "user" if expected == "assistant" else "assistant"
    if turns[-1]["role"] != "assistant":
        raise TurnOrderError(
            f"{where}: the last message is of {turns[-1]['role']!r}, so there is no answer to learn; "
            "end each conversation with an assistant's message"
        )
    return turns


def _turn(turn: Any, where: str) -> dict[str, str]:
    if not isinstance(turn, Mapping) or "role" not in turn:
        raise RoleError(f"{where}: no role, found {short(turn)}; write rows like {EXAMPLE}")
    if turn["role"] not in ROLES:
        raise RoleError(f"{where}: unknown role {turn['role']!r}; write one of {', '.join(ROLES)}")
    content = turn.get("content")
    if not isinstance(content, str) or not content.strip():
        raise EmptyTurnError(
            f"{where} ({turn['role']}): the content is {short(content)}; "
            "write what is said as text, or leave the row out"
        )
    return {"role": turn["role"], "content": content}
