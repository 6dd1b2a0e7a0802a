"""What is scored: held-out documents without the passages that training text repeats, in model rows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.corpus.word_runs import Hashes
from pipeline.evaluation.evaluate import TextLostError
from pipeline.evaluation.likelihood import cut
from pipeline.evaluation.overlap import unshared_passages
from pipeline.models.generation import piece_bytes
from pipeline.tokens.markers import neutralise
from pipeline.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa


def documents_schema() -> "pa.Schema":
    import pyarrow as pa

    text = {name: pa.string() for name in ("id", "url", "language", "text")}
    numbers = {name: pa.int64() for name in ("bytes", "kept_bytes", "passages", "kept_passages")}
    return pa.schema(text | numbers)


def pieces_schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        {"document": pa.string(), "language": pa.string(), "ids": pa.list_(pa.int32()), "text": pa.binary()}
    )


def without_shared(rows: Iterable[Mapping[str, Any]], shared: Hashes) -> list[dict[str, Any]]:
    """Each document with what is left of its text (`documents_schema`). `shared` is sorted."""
    documents = []
    for row in rows:
        passages = unshared_passages(row["text"], shared)
        kept = [passage for passage, stays in passages if stays]
        text = "".join(kept)
        documents.append(
            {name: row[name] for name in ("id", "url", "language")}
            | {
                "text": text,
                "bytes": len(row["text"].encode()),
                "kept_bytes": len(text.encode()),
                "passages": len(passages),
                "kept_passages": len(kept),
            }
        )
    return documents


def cut_pieces(
    documents: Iterable[Mapping[str, Any]], vocabulary: Vocabulary, row_tokens: int
) -> list[dict[str, Any]]:
    """The pieces of all documents (`pieces_schema`): ids with BOS, and the bytes that the others stand for.

    All models and compressors are given these. A piece may end inside a character.
    Raises TextLostError if a document's pieces, joined, are not its text.
    """
    encoder, spelt = vocabulary.encoder(), piece_bytes(vocabulary.tokenizer())
    found = []
    for document in documents:
        text = neutralise(document["text"], encoder.markers)
        rows = cut(encoder.encode([text])[0].tolist(), row_tokens, encoder.begin)
        pieces = [
            {
                "document": document["id"],
                "language": document["language"],
                "ids": ids,
                "text": b"".join(spelt[token] for token in ids[1:]),
            }
            for ids in rows
        ]
        # Some tokenizers of others put a space before each text.
        if b"".join(piece["text"] for piece in pieces) not in (text.encode(), f" {text}".encode()):
            raise TextLostError(
                f"held-out document {document['id']} ({document['url']}): its tokens do not spell its text; "
                f"was {vocabulary.base} made by another version? Bump its revision and make it again"
            )
        found += pieces
    return found


def summary(
    documents: Sequence[Mapping[str, Any]], pieces: Sequence[Mapping[str, Any]], row_tokens: int
) -> dict[str, Any]:
    """The figures that say how far the scores can be trusted."""
    size = sum(document["bytes"] for document in documents)
    kept = sum(document["kept_bytes"] for document in documents)
    languages = Counter(document["language"] for document in documents)
    return {
        "documents": len(documents),
        "documents_by_language": dict(sorted(languages.items())),
        "bytes": size,
        "largest_document_share": max((document["bytes"] for document in documents), default=0)
        / max(size, 1),
        "passages": sum(document["passages"] for document in documents),
        "shared_passages": sum(document["passages"] - document["kept_passages"] for document in documents),
        "shared_bytes_share": 1 - kept / max(size, 1),
        "scored_bytes": sum(len(piece["text"]) for piece in pieces),
        "scored_tokens": sum(len(piece["ids"]) - 1 for piece in pieces),
        "pieces": len(pieces),
        "row_tokens": row_tokens,
    }
