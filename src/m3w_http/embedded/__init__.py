"""
A PostgreSQL 16 of our own, for ``m3w serve`` without ``DATABASE_URL`` and for tests.

It listens on a Unix socket that nobody else can reach, never on the network, and lives no longer than the
process that started it, even when that one is killed. Its data stays. Run by root, the server itself runs as
another user.
"""

from __future__ import annotations

from m3w_http.embedded.data_directory import default_data_dir
from m3w_http.embedded.programs import EmbeddedPostgresError
from m3w_http.embedded.server import EmbeddedPostgres, running

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "default_data_dir", "running"]
