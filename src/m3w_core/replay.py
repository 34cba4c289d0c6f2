"""
Rejected payloads once more: validated by this release, and stored as if they had been accepted when they came.

Their time is the one at which they came, not that of the replay. So a replay makes no session look live, and puts each
where it belongs in charts; the hours that it touches have to be summed up again, which is done in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import define, field
from pg8000.native import Connection

from m3w_core import rollup
from m3w_core._convert import parse_session
from m3w_core._errors import translating
from m3w_core._rows import encode_sessions, encode_timeline
from m3w_core.batch import parse_array, parse_lines
from m3w_core.exceptions import BatchTooLargeError, InvalidSessionError, SessionRefusedError
from m3w_core.model import Session
from m3w_core.postgres import INSERT_TIMELINE, UPSERT_EARLIER_SESSIONS
from m3w_core.rejected_store import StoredRejection, delete_rejected, read_payload

_AT_ONCE, _AT_ONCE_BYTES = 500, 8 * 1024 * 1024

# Of the rows as they are: where they are counted, and where they were.
_PERIOD: Final = """
SELECT min(least(event_at, earlier_event_at_min)), max(greatest(event_at, earlier_event_at_max))
FROM sessions WHERE session_id = ANY(CAST(:session_ids AS text[]))
"""

_Parsed = tuple[StoredRejection, list[Session]]
"""A payload, and all that is in it."""

Refused = Callable[[StoredRejection, str], None]
"""Is told which payload is still rejected, and why."""


@define
class ReplayReport:
    """
    What a replay came to.

    Args:
        accepted: Payloads that are sessions now, and in the table no more.
        sessions: Summaries in them. Some may be older than what was stored, and have changed nothing.
        refused: Payloads that are still rejected, and stay.
        oldest: The earliest time that has to be summed up again; None where nothing was stored.
        newest: The latest.
    """

    accepted: int = 0
    sessions: int = 0
    refused: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None


def replay(
    connection: Connection,
    rejections: Sequence[StoredRejection],
    *,
    dry_run: bool = False,
    refused: Refused = lambda _, __: None,
    progress: Callable[[int], None] = lambda _: None,
) -> ReplayReport:
    """
    Store what is valid now; of a session the newest summary wins, as always. A replay may be repeated.

    Args:
        connection: To a migrated database, in no transaction.
        rejections: Which ones.
        dry_run: Whether everything is taken back in the end.
        refused: Is told of each that is still rejected.
        progress: Called now and then, with how many more have been dealt with.

    Raises:
        StorageUnavailableError: If the database does not answer. What was stored by then is.
    """
    work = _Replay(connection, dry_run, refused)
    try:
        for group in _groups(sorted(rejections, key=lambda each: each.received_at)):
            work.store([parsed for rejection in group if (parsed := work.parse(rejection)) is not None])
            progress(len(group))
    finally:
        report = work.report
        if not dry_run and report.oldest is not None and report.newest is not None:
            rollup.rebuild(connection, report.oldest, report.newest + timedelta(microseconds=1))
    return report


def _groups(rejections: Sequence[StoredRejection]) -> Iterator[list[StoredRejection]]:
    group: list[StoredRejection] = []
    for rejection in rejections:
        group.append(rejection)
        if len(group) == _AT_ONCE or sum(each.payload_bytes for each in group) > _AT_ONCE_BYTES:
            yield group
            group = []
    if group:
        yield group


@define(eq=False)
class _Replay:
    connection: Connection
    dry_run: bool
    refused: Refused
    report: ReplayReport = field(factory=ReplayReport)

    def parse(self, rejection: StoredRejection) -> _Parsed | None:
        """Read a payload; None where that is not possible, or it is there no more."""
        payload = read_payload(self.connection, rejection.id)
        if payload is None:
            return None
        try:
            return rejection, _sessions(rejection, payload)
        except (InvalidSessionError, BatchTooLargeError) as error:
            self._refuse(rejection, error)
            return None

    def store(self, group: list[_Parsed]) -> None:
        """Store a group in one transaction; where the database refuses a payload, it is found by halving."""
        if not group:
            return
        try:
            with translating():
                self._write(group)
        except SessionRefusedError as error:
            with translating():
                self.connection.run("ROLLBACK")
            if len(group) == 1:
                self._refuse(group[0][0], error)
                return
            middle = len(group) // 2
            self.store(group[:middle])
            self.store(group[middle:])
        else:
            self.report.accepted += len(group)
            self.report.sessions += sum(len(sessions) for _, sessions in group)

    def _refuse(self, rejection: StoredRejection, error: Exception) -> None:
        self.report.refused += 1
        self.refused(rejection, str(error))

    def _write(self, group: list[_Parsed]) -> None:
        arrived = [(session, rejection) for rejection, sessions in group for session in sessions]
        sessions = [session for session, _ in arrived]
        rows = encode_sessions(
            sessions,
            [rejection.received_via for _, rejection in arrived],
            [rejection.received_at for _, rejection in arrived],
        )
        entries = encode_timeline(sessions)
        session_ids = [session.session_id for session in sessions]
        run = self.connection.run
        run("BEGIN")
        periods = run(_PERIOD, session_ids=session_ids)
        run(UPSERT_EARLIER_SESSIONS, rows=rows)
        if entries is not None:
            run(INSERT_TIMELINE, entries=entries)
        periods += run(_PERIOD, session_ids=session_ids)
        delete_rejected(self.connection, [rejection.id for rejection, _ in group])
        run("ROLLBACK" if self.dry_run else "COMMIT")
        known = [period for period in (*periods, [self.report.oldest, self.report.newest]) if period[0]]
        if known:
            self.report.oldest = min(oldest for oldest, _ in known)
            self.report.newest = max(newest for _, newest in known)


def _sessions(rejection: StoredRejection, payload: bytes) -> list[Session]:
    if len(payload) < rejection.payload_bytes:
        raise InvalidSessionError(
            f"Only {len(payload)} of its {rejection.payload_bytes} bytes were kept, as it is very large"
        )
    if rejection.media_type == "application/gzip":
        raise InvalidSessionError("It could not be unpacked")
    if rejection.batch_index is not None or not rejection.route.endswith("/batch"):
        return [parse_session(payload)]
    batch = (parse_lines if rejection.media_type.endswith("ndjson") else parse_array)(payload)
    if batch.rejected:
        # The items that are valid wait too: the payload is one, accepted or not.
        raise batch.rejected[0].error
    return batch.sessions
