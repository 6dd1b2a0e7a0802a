"""The size of a model in the store, for estimates: by how it was pretrained, or by its files."""

from pipeline.models.families import Shape, shape_of, vocabulary_size_of
from pipeline.models.foreign_model import read_model
from pipeline.models.model import Model


def size_of(model: Model) -> tuple[Shape, int] | None:
    """The model's shape, and the pieces of its vocabulary; nothing of it is loaded. None where it is not
    made yet and its own configuration does not tell, as that of a fine-tuning does not.
    """
    shape = shape_of(model.config())
    if shape is not None:
        return shape, vocabulary_size_of(shape, int(model.counts()["parameters"]))
    if not model.exists():
        return None
    found = read_model(model.tokenizer_folder())  # of an adapter the base's: as large but for the adapter
    return found.shape, found.pieces
