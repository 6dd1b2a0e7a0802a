"""What the quality rules measure: text → one number each, a module per paper."""

from pipeline.corpus.prose import Prose


def share(part: float, whole: float) -> float:
    """0 where there is no whole."""
    return part / whole if whole else 0.0


__all__ = ["Prose", "share"]
