"""Playback sessions of the Media3Watch SDK: model, validation, storage. No web framework inside."""

from __future__ import annotations

from m3w_core._convert import KNOWN_FIELDS, parse_session, session_from_dict, session_to_dict
from m3w_core.auth import ApiKeys
from m3w_core.batch import Batch, RejectedSummary, parse_array, parse_lines
from m3w_core.database_url import DatabaseSettings, parse_database_url
from m3w_core.exceptions import (
    BatchTooLargeError,
    InvalidSessionError,
    M3WError,
    MigrationError,
    Problem,
    SessionRefusedError,
    SettingsError,
    StorageConfigurationError,
    StorageError,
    StorageOverloadedError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from m3w_core.ingest import ingest
from m3w_core.model import PlaybackState, Session, StoredSession, TimelineEntry
from m3w_core.ports import SessionRepository
from m3w_core.postgres import PostgresSessionRepository
from m3w_core.settings import Settings
from m3w_core.startup import connected, migrate, verify, wait_until_up
from m3w_core.writer import GroupCommitWriter, WriterObserver

__all__ = [
    "KNOWN_FIELDS",
    "ApiKeys",
    "Batch",
    "BatchTooLargeError",
    "DatabaseSettings",
    "GroupCommitWriter",
    "InvalidSessionError",
    "M3WError",
    "MigrationError",
    "PlaybackState",
    "PostgresSessionRepository",
    "Problem",
    "RejectedSummary",
    "Session",
    "SessionRefusedError",
    "SessionRepository",
    "Settings",
    "SettingsError",
    "StorageConfigurationError",
    "StorageError",
    "StorageOverloadedError",
    "StorageTimeoutError",
    "StorageUnavailableError",
    "StoredSession",
    "TimelineEntry",
    "WriterObserver",
    "connected",
    "ingest",
    "migrate",
    "parse_array",
    "parse_database_url",
    "parse_lines",
    "parse_session",
    "session_from_dict",
    "session_to_dict",
    "verify",
    "wait_until_up",
]
