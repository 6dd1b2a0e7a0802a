"""Artifacts by key: where everything that moinho makes lies, and how it is found again."""

from pipeline.store.artifacts import Artifact, read_record
from pipeline.store.faults import (
    NoRoomError,
    NotWritableError,
    fault_of_machine,
    faults_told,
    lacks_room,
    require_room,
)
from pipeline.store.journal import Bound, Journal, JournalReader, flush_journals
from pipeline.store.overlapping import OverlappingStore
from pipeline.store.planning_store import PlanningStore
from pipeline.store.records import File, Record, ShardRecord
from pipeline.store.storage import Storage, sha256_of
from pipeline.store.store import Attempt, Listener, Made, Store, Work

__all__ = [
    "Artifact",
    "Attempt",
    "Bound",
    "File",
    "Journal",
    "JournalReader",
    "Listener",
    "Made",
    "NoRoomError",
    "NotWritableError",
    "OverlappingStore",
    "PlanningStore",
    "Record",
    "ShardRecord",
    "Storage",
    "Store",
    "Work",
    "fault_of_machine",
    "faults_told",
    "flush_journals",
    "lacks_room",
    "read_record",
    "require_room",
    "sha256_of",
]
