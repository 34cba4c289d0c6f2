"""
Group commit: who is told what, and when, whatever the repository does.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from m3w_core import (
    GroupCommitWriter,
    SessionRefusedError,
    StorageOverloadedError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from tests.factories import a_session
from tests.fakes import FakeSessionRepository

DEADLINE_S = 20


class Observer:
    def __init__(self):
        self.batches = []
        self.failures = []

    def batch_written(self, sessions, seconds):
        assert seconds >= 0
        self.batches.append(sessions)

    def batch_failed(self, error):
        self.failures.append(str(error))


class Gate:
    """A repository's hook that lets a batch through when it is opened."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, sessions):
        self.entered.release()
        assert self.open.wait(DEADLINE_S)

    async def until_entered(self):
        assert await asyncio.to_thread(self.entered.acquire, timeout=DEADLINE_S)


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, DEADLINE_S))


async def until_waiting(writer, sessions):
    while writer.waiting < sessions:
        await asyncio.sleep(0)


def ids(batch):
    return [session.session_id for session in batch]


def test_a_session_is_stored_when_write_returns():
    """
    The answer comes after the commit, never before.
    """
    repository = FakeSessionRepository()

    async def scenario():
        async with GroupCommitWriter([repository]) as writer:
            await writer.write(a_session("s-1"))
            return repository.get("s-1")

    assert run(scenario()) is not None


def test_write_does_not_return_before_the_commit():
    """
    While the database works, the caller waits.
    """
    gate = Gate()

    async def scenario():
        async with GroupCommitWriter([FakeSessionRepository(gate)]) as writer:
            written = asyncio.ensure_future(writer.write(a_session()))
            await gate.until_entered()
            early = written.done()
            gate.open.set()
            await written
            return early

    assert run(scenario()) is False


def test_what_arrives_during_a_batch_is_the_next_batch():
    """
    One commit for all of them, in the order in which they came.
    """
    gate = Gate()
    repository = FakeSessionRepository(gate)
    observer = Observer()

    async def scenario():
        async with GroupCommitWriter([repository], observer=observer) as writer:
            first = asyncio.ensure_future(writer.write(a_session("first")))
            await gate.until_entered()
            others = [asyncio.ensure_future(writer.write(a_session(f"s-{number}"))) for number in range(50)]
            await until_waiting(writer, 51)
            gate.open.set()
            await asyncio.gather(first, *others)
            return writer.waiting

    assert run(scenario()) == 0
    assert list(map(ids, repository.batches)) == [["first"], [f"s-{number}" for number in range(50)]]
    assert observer.batches == [1, 50]


def test_a_batch_has_a_greatest_size():
    """
    In sessions, and in bytes: PostgreSQL takes a batch in one piece.
    """
    mebibyte = 1024 * 1024
    repository = FakeSessionRepository()

    async def scenario(size, **limits):
        gate = repository.before_upsert = Gate()
        async with GroupCommitWriter([repository], **limits) as writer:
            writes = [asyncio.ensure_future(writer.write(a_session("first")))]
            await gate.until_entered()
            writes += [asyncio.ensure_future(writer.write(a_session("s"), size=size)) for _ in range(20)]
            await until_waiting(writer, 21)
            gate.open.set()
            await asyncio.gather(*writes)

    run(scenario(size=0, max_batch=8))
    assert [len(batch) for batch in repository.batches] == [1, 8, 8, 4]
    repository.batches.clear()
    run(scenario(size=mebibyte))
    assert [len(batch) for batch in repository.batches] == [1, 8, 8, 4]


def test_a_refused_session_does_not_fail_its_neighbours():
    """
    The batch is split until the rows that the database refuses are found.
    """
    gate = Gate()
    bad = {"s-3", "s-11", "s-12"}

    def refuse(sessions):
        gate(sessions)
        if bad & set(ids(sessions)):
            raise SessionRefusedError("invalid byte sequence")

    repository = FakeSessionRepository(refuse)

    async def scenario():
        async with GroupCommitWriter([repository]) as writer:
            writes = [asyncio.ensure_future(writer.write(a_session("first")))]
            await gate.until_entered()
            writes += [asyncio.ensure_future(writer.write(a_session(f"s-{number}"))) for number in range(20)]
            await until_waiting(writer, 21)
            gate.open.set()
            return await asyncio.gather(*writes, return_exceptions=True)

    outcomes = dict(zip(["first", *(f"s-{number}" for number in range(20))], run(scenario()), strict=True))

    assert {name for name, outcome in outcomes.items() if outcome is not None} == bad
    assert all(isinstance(outcomes[name], SessionRefusedError) for name in bad)
    assert all((repository.get(name) is None) == (name in bad) for name in outcomes)


def test_several_sessions_of_one_caller_are_stored_together():
    """
    Those that the database refuses are named by their index; all others are stored, newest last.
    """

    def refuse(sessions):
        if "bad" in ids(sessions):
            raise SessionRefusedError("invalid byte sequence")

    repository = FakeSessionRepository(refuse)
    sessions = [a_session(name) for name in ("a", "bad", "b", "c", "bad")]

    async def scenario():
        async with GroupCommitWriter([repository]) as writer:
            return await writer.write_all(sessions), await writer.write_all([])

    refused, none = run(scenario())

    assert sorted(refused) == [1, 4]
    assert all(isinstance(error, SessionRefusedError) for error in refused.values())
    assert [repository.get(name) is not None for name in ("a", "b", "c", "bad")] == [True, True, True, False]
    assert none == {}


def test_an_outage_costs_nothing_but_time():
    """
    The batch is tried again as it is until it succeeds, and whoever watches hears of both.
    """
    troubles = ["the server is starting up", "connection refused", "connection refused"]
    observer = Observer()

    def fail_at_first(sessions):
        if troubles:
            raise StorageUnavailableError(troubles.pop(0))

    repository = FakeSessionRepository(fail_at_first)

    async def scenario():
        async with GroupCommitWriter([repository], observer=observer) as writer:
            await writer.write(a_session())

    run(scenario())

    assert repository.get("s-1") is not None
    assert observer.failures == ["the server is starting up", "connection refused", "connection refused"]
    assert observer.batches == [1]


def test_patience_ends_before_the_clients_does():
    """
    A caller hears within its time that its session was not stored; the writer goes on and recovers.
    """
    down = threading.Event()
    down.set()

    def fail_while_down(sessions):
        if down.is_set():
            raise StorageUnavailableError("connection refused")

    repository = FakeSessionRepository(fail_while_down)

    async def scenario():
        async with GroupCommitWriter([repository], patience_s=0.2) as writer:
            with pytest.raises(StorageTimeoutError, match=r"not stored within 0\.2 s"):
                await writer.write(a_session("too late"))
            down.clear()
            while True:
                try:
                    return await writer.write(a_session("after"))
                except StorageTimeoutError:
                    continue

    run(scenario())

    assert repository.get("after") is not None
    assert repository.get("too late") is None


def test_patience_ends_though_the_database_hangs():
    """
    No answer at all is the same to a client as an error.
    """
    gate = Gate()

    async def scenario():
        async with GroupCommitWriter([FakeSessionRepository(gate)], patience_s=0.2) as writer:
            try:
                with pytest.raises(StorageTimeoutError):
                    await writer.write(a_session())
            finally:
                gate.open.set()

    run(scenario())


def test_too_much_waiting_is_turned_away_at_once():
    """
    Memory stays bounded in an outage; what was accepted before is not affected.
    """
    gate = Gate()

    async def scenario():
        async with GroupCommitWriter([FakeSessionRepository(gate)], max_waiting_bytes=1_000_000) as writer:
            accepted = asyncio.ensure_future(writer.write(a_session(), size=900_000))
            await gate.until_entered()
            with pytest.raises(StorageOverloadedError, match="1 sessions are waiting"):
                await writer.write(a_session(), size=200_000)
            small = asyncio.ensure_future(writer.write(a_session()))
            gate.open.set()
            await asyncio.gather(accepted, small)
            await writer.write(a_session(), size=900_000)

    run(scenario())


def test_leaving_writes_what_was_accepted_and_takes_no_more():
    """
    On shutdown nothing is lost that was let in.
    """
    gate = Gate()
    repository = FakeSessionRepository(gate)

    async def scenario():
        writer = GroupCommitWriter([repository])
        await writer.__aenter__()
        writes = [asyncio.ensure_future(writer.write(a_session(f"s-{number}"))) for number in range(3)]
        await gate.until_entered()
        leaving = asyncio.ensure_future(writer.__aexit__(None, None, None))
        await asyncio.sleep(0)
        with pytest.raises(StorageOverloadedError, match="closing"):
            await writer.write(a_session("late"))
        gate.open.set()
        await asyncio.gather(leaving, *writes)

    run(scenario())

    assert [repository.get(f"s-{number}") is not None for number in range(3)] == [True, True, True]
    assert repository.closed == 1


def test_a_bug_fails_its_batch_and_no_other(caplog):
    """
    Whatever a repository raises, its callers hear of it and the writer lives on.
    """
    troubles = [ZeroDivisionError("a bug")]

    def fail_once(sessions):
        if troubles:
            raise troubles.pop()

    async def scenario():
        async with GroupCommitWriter([FakeSessionRepository(fail_once)]) as writer:
            with pytest.raises(ZeroDivisionError):
                await writer.write(a_session())
            await writer.write(a_session())

    run(scenario())

    assert "A batch of 1 could not be stored" in caplog.text


def test_a_caller_who_leaves_takes_nobody_along():
    """
    A cancelled request is skipped; those beside it are answered.
    """
    gate = Gate()
    repository = FakeSessionRepository(gate)

    async def scenario():
        async with GroupCommitWriter([repository]) as writer:
            first = asyncio.ensure_future(writer.write(a_session("first")))
            await gate.until_entered()
            gone = asyncio.ensure_future(writer.write(a_session("gone")))
            stays = asyncio.ensure_future(writer.write(a_session("stays")))
            await until_waiting(writer, 3)
            gone.cancel()
            gate.open.set()
            await asyncio.gather(first, stays)
            return gone.cancelled(), writer.waiting

    assert run(scenario()) == (True, 0)
    assert list(map(ids, repository.batches)) == [["first"], ["stays"]]


def test_several_repositories_write_at_the_same_time():
    """
    Each has a thread of its own, so that one batch need not wait for another's commit.
    """
    gates = [Gate(), Gate()]
    repositories = [FakeSessionRepository(gate) for gate in gates]

    async def scenario():
        async with GroupCommitWriter(repositories) as writer:
            writes = [asyncio.ensure_future(writer.write(a_session("a")))]
            await gates[0].until_entered()
            writes.append(asyncio.ensure_future(writer.write(a_session("b"))))
            await gates[1].until_entered()
            for gate in gates:
                gate.open.set()
            await asyncio.gather(*writes)

    run(scenario())

    assert [list(map(ids, repository.batches)) for repository in repositories] == [[["a"]], [["b"]]]
