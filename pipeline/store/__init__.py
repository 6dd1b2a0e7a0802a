"""Artifacts by key: where everything that moinho makes lies, and how it is found again."""

from pipeline.store.artifacts import Artifact, read_record
from pipeline.store.journal import Journal, JournalReader, flush_journals
from pipeline.store.records import File, Record, ShardRecord
from pipeline.store.storage import Storage, sha256_of
from pipeline.store.store import Attempt, Listener, Made, PlanningStore, Store, Work

__all__ = [
    "Artifact",
    "Attempt",
    "File",
    "Journal",
    "JournalReader",
    "Listener",
    "Made",
    "PlanningStore",
    "Record",
    "ShardRecord",
    "Storage",
    "Store",
    "Work",
    "flush_journals",
    "read_record",
    "sha256_of",
]
