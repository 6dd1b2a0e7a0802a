"""What is wrong with a file as a whole, so that nothing in it can be counted."""

from pipeline.errors import StageError, UnreadableShardError


class UnreadableFileError(UnreadableShardError):
    """A container cannot be opened. Its shard is set aside, if compute.lost_shards allows that."""


class NoTextColumnError(StageError):
    """A Parquet file has no column of the name that holds the documents' text."""

    remedy = "Set columns.text of the source to the name of the column that holds the text."
