"""
What every `SessionRepository` holds: the fake that unit tests use, and PostgreSQL.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3w_core import KNOWN_FIELDS, PostgresSessionRepository, Session, session_from_dict
from m3w_core.validation import float32
from tests.factories import TIMESTAMP_MS, a_session, an_entry
from tests.fakes import FakeSessionRepository


@pytest.fixture(params=["fake", "postgres"])
def repository(request):
    if request.param == "fake":
        yield FakeSessionRepository()
        return
    repository = PostgresSessionRepository(request.getfixturevalue("migrated_database"))
    yield repository
    repository.close()


def stored(repository, session_id="s-1"):
    found = repository.get(session_id)
    assert found is not None
    return found


def test_what_is_stored_is_read_back(repository):
    """
    Every field of a session comes back as it went in, and so does its timeline.
    """
    session = a_session(
        startup_time_ms=450,
        rebuffer_time_ms=0,
        rebuffer_count=2,
        play_time_ms=2**63 - 1,
        rebuffer_ratio=float32(0.028),
        total_dropped_frames=2**63 - 1,
        total_seek_count=2**31 - 1,
        total_seek_time_ms=300,
        mean_video_format_bitrate=2**33,
        error_count=0,
        device_model="Pixel \"8\" 'π' 😀 \\ \x01",
        os_version=34,
        sdk_version="1.0.1",
        connection_type="",
        timeline_events=(an_entry(current_bitrate=2**33, network_type="WIFI", buffered_duration_ms=18_000),),
        extra={"contentId": "video-456", "custom": {"tags": ["a", "b"], "n": 0.1, "big": 2**63 - 1}},
    )

    repository.upsert([session])

    assert stored(repository).session == session


def test_an_unknown_session_is_none(repository):
    """
    Nothing was stored, so nothing is found.
    """
    assert repository.get("s-1") is None


def test_the_name_of_the_key_is_kept_with_the_newest_summary(repository):
    """
    That of the summary which is stored, within a batch and after it; none where none is told.
    """
    sessions = [a_session("a", timestamp=2), a_session("a", timestamp=1), a_session("b", timestamp=1)]
    repository.upsert(sessions, ["phone", "tv", "tv"])
    repository.upsert([a_session("a", timestamp=1), a_session("b", timestamp=2)], ["late", "backfill"])
    repository.upsert([a_session("c")])

    names = [stored(repository, session_id).received_via for session_id in ("a", "b", "c")]
    assert names == ["phone", "backfill", None]


def test_same_summary_twice_changes_nothing(repository):
    """
    A client that got no answer sends the same again.
    """
    session = a_session(timeline_events=(an_entry(1), an_entry(2)))
    repository.upsert([session])

    repository.upsert([session])

    assert stored(repository).session == session


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("batches", ["one batch", "two batches"])
def test_the_newest_summary_wins_and_every_timeline_entry_is_kept(repository, order, batches):
    """
    The SDK drains its timeline with each report: a late one is the only copy of its entries.
    """
    reports = [
        a_session(
            timestamp=1_000,
            session_duration_ms=10,
            timeline_events=(an_entry(1), an_entry(2)),
            extra={"a": 1},
        ),
        a_session(timestamp=2_000, session_duration_ms=20, timeline_events=(an_entry(2), an_entry(3))),
    ]
    arriving = [reports[index] for index in order]

    if batches == "one batch":
        repository.upsert(arriving)
    else:
        for report in arriving:
            repository.upsert([report])

    kept = stored(repository).session
    assert kept.timestamp == 2_000
    assert kept.session_duration_ms == 20
    assert kept.extra == {}
    assert [entry.timestamp_ms for entry in kept.timeline_events] == [1, 2, 3]


def test_of_equal_timestamps_the_later_arrival_wins(repository):
    """
    Equal or newer replaces, within a batch and across batches.
    """
    repository.upsert([a_session(session_duration_ms=1), a_session(session_duration_ms=2)])
    in_one_batch = stored(repository).session.session_duration_ms

    repository.upsert([a_session(session_duration_ms=3)])

    assert in_one_batch == 2
    assert stored(repository).session.session_duration_ms == 3


def test_a_timeline_entry_that_is_there_is_left_alone(repository):
    """
    The key of an entry is its session, moment and state; the first one sent stays.
    """
    repository.upsert([a_session(timeline_events=(an_entry(1, elapsed_ms=10),))])

    repository.upsert(
        [
            a_session(
                timeline_events=(
                    an_entry(1, elapsed_ms=99),
                    an_entry(1, playback_state="PAUSED", elapsed_ms=20),
                )
            )
        ]
    )

    entries = stored(repository).session.timeline_events
    assert [(entry.playback_state, entry.elapsed_ms) for entry in entries] == [
        ("PLAYING", 10),
        ("PAUSED", 20),
    ]


def test_400_updates_in_random_order_leave_the_newest(repository):
    """
    However the network shuffles the reports of a session, the last one counts.
    """
    reports = [a_session(timestamp=number, session_duration_ms=number) for number in range(1, 401)]
    random.Random(7).shuffle(reports)

    for start in range(0, 400, 7):
        repository.upsert(reports[start : start + 7])

    assert stored(repository).session.session_duration_ms == 400


def test_times_are_the_servers_but_event_at_follows_a_plausible_client(repository):
    """
    The client's clock decides only where it lies between 30 days before and 5 minutes after the server's.
    """
    now_ms = time.time_ns() // 1_000_000
    day_ms = 86_400_000
    claims = {
        "just now": (now_ms - 1_000, True),
        "29 days late": (now_ms - 29 * day_ms, True),
        "31 days late": (now_ms - 31 * day_ms, False),
        "4 minutes ahead": (now_ms + 4 * 60_000, True),
        "6 minutes ahead": (now_ms + 6 * 60_000, False),
        "the year 9999": (253_402_300_799_999, False),
        "1970": (1, False),
    }
    repository.upsert([a_session(name, timestamp) for name, (timestamp, _) in claims.items()])

    for name, (timestamp, believed) in claims.items():
        found = stored(repository, name)
        assert abs(found.received_at - datetime.now(UTC)) < timedelta(minutes=1)
        if believed:
            assert found.event_at == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp)
        else:
            assert found.event_at == found.received_at


def test_an_update_keeps_when_the_session_was_first_seen(repository):
    """
    created_at is of the first summary, received_at of the stored one; an older summary moves neither.
    """
    repository.upsert([a_session(timestamp=1_000)])
    first = stored(repository)
    repository.upsert([a_session(timestamp=2_000)])
    second = stored(repository)
    repository.upsert([a_session(timestamp=1_500)])

    assert second.created_at == first.created_at
    assert second.received_at > first.received_at
    assert stored(repository) == second


def test_it_can_be_used_after_it_was_closed(repository):
    """
    Closing gives back what is held open; the next call opens it again.
    """
    repository.upsert([a_session()])

    repository.close()

    assert stored(repository).session == a_session()


def test_it_may_be_called_from_one_thread_after_another(repository):
    """
    A writer's thread is not the one that made the repository.
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(repository.upsert, [a_session()]).result()

    assert stored(repository).session == a_session()


_name = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
_own_name = _name.filter(lambda name: name not in KNOWN_FIELDS)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_name, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(extra=st.dictionaries(_own_name, _json, max_size=4), ratio=st.none() | st.floats(0, 1))
def test_whatever_validation_lets_through_reads_back_equal(repository, extra, ratio):
    """
    PostgreSQL has rules of its own for JSON and floats; none of them may show.

    But one: jsonb does not tell 4e16 from 40000000000000000, so a float may come back as the integer it is.
    """
    known = {
        "sessionId": "s-1",
        "timestamp": TIMESTAMP_MS,
        "sessionStartDateIso": "x",
        "sessionDurationMs": 1,
    }
    session: Session = session_from_dict({**extra, **known, "rebufferRatio": ratio})

    repository.upsert([session])

    found = stored(repository).session
    assert evolve(found, extra={}) == evolve(session, extra={})
    assert same_json(found.extra, session.extra)


def same_json(found, sent):
    if isinstance(sent, dict):
        return found.keys() == sent.keys() and all(same_json(found[name], sent[name]) for name in sent)
    if isinstance(sent, list):
        return len(found) == len(sent) and all(map(same_json, found, sent))
    if isinstance(sent, float):
        return float(found) == sent
    return type(found) is type(sent) and found == sent
