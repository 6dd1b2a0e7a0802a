"""What was made before is held to what is to be left out now."""

from collections.abc import Iterator

from flows.references import KINDS
from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.forgotten import forgotten_in, urls_in
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.pages import Pages
from pipeline.corpus.sources import Files
from pipeline.errors import InputError
from pipeline.store import Artifact, Store
from pipeline.tokens.encode import Tokens

SOURCES: tuple[type[Artifact], ...] = (Pages, Files, RawDocuments)
"""Hold pages as they came; they stay as they are, and what is made from them from now on leaves these out."""


class ForgottenInsideError(InputError):
    """Something that was made before would bring back pages that were to be left out since."""

    remedy = "Run the configuration again that made it; then it is made without them."


def refuse_forgotten(store: Store, artifact: Artifact, setting: str) -> None:
    """Raises ForgottenInsideError if the artifact, or any corpus that it was made from, has pages that are to
    be left out now. `setting` is what names it."""
    forgotten = forgotten_in(store.storage)
    waiting, seen = [artifact] if forgotten and artifact.exists() else [], set[str]()
    while waiting:
        each = waiting.pop()
        seen.add(each.base)
        for url in _urls_learned(each):
            if (rule := forgotten.rule_for(url)) is not None:
                raise ForgottenInsideError(
                    f"{setting}: {artifact.base} was made from {each.base}, which has {url}, and {rule} is "
                    "to be left out (`moinho forget`): run the configuration again that made it, which "
                    "makes it without"
                )
        inputs = (
            KINDS[given.stage](each.storage, given.key)
            for given in each.record.inputs.values()
            if given.stage in KINDS and not issubclass(KINDS[given.stage], SOURCES)
        )
        waiting += [below for below in inputs if below.base not in seen and below.exists()]


def _urls_learned(artifact: Artifact) -> Iterator[str]:
    if isinstance(artifact, Documents):
        return urls_in(artifact, "kept/")
    if isinstance(artifact, Corpus | Tokens):
        return urls_in(artifact, "train/", "held-out/")
    return iter(())
