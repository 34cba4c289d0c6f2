"""
One round: a while without a fault, the fault, a while after it, and then the verdict.

The verdict is about what clients saw and about what is stored. The first requests of a round must succeed, so what
a fault leaves behind and nobody sees in time is found by the next round.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from attrs import field, frozen

from tests.faults.clients import Answer
from tests.faults.fault import Injected, NoEffectError
from tests.faults.kinds import Kind
from tests.faults.world import World

ANSWER_LIMIT_S = 10.0
RECOVERY_LIMIT_S = 2.0

#: Of one worker, resident: what may wait in the queue, several times, and the program itself.
MEMORY_LIMIT_BYTES = 512 * 1024 * 1024

_BEFORE_S = (0.4, 0.9)
_AFTER_S = 1.0
#: So many complaints of one kind are enough to know.
_SHOWN = 5

_STATUSES = (200, 429, 503)


@frozen
class Round:
    """
    What came of a round.

    Args:
        name: Of the fault.
        fault_s: How long it lasted.
        requests: How many were sent.
        statuses: How many answers of each status there were; 0 is a broken connection.
        slowest_s: The slowest answer, of those that are not excused.
        recovery_s: From the end of the fault until all was well again.
        memory_bytes: The most that a worker had resident.
        lag_s: How long the clients themselves were held up at the worst.
        complaints: What is wrong; nothing if it was passed.
    """

    name: str
    fault_s: float
    requests: int
    statuses: dict[int, int]
    slowest_s: float
    recovery_s: float
    memory_bytes: int
    lag_s: float
    complaints: list[str] = field(factory=list)


async def run_round(world: World, kind: Kind, seconds: float) -> Round:
    """
    Run one.

    Args:
        world: What the fault is injected into.
        kind: Of fault.
        seconds: How long it is to last.
    """
    clients = world.clients
    clients.answers.clear()
    clients.touched.clear()
    clients.worst_lag_s, world.worst_memory_bytes = 0.0, 0
    clients.max_connections = kind.connections
    clients.rate = kind.rate
    workers = {worker.pid for worker in world.workers()}
    await asyncio.sleep(world.random.uniform(*_BEFORE_S))
    complaints = []
    began_s = time.monotonic()
    try:
        injected = await kind.inject(world, seconds)
    except NoEffectError as error:
        complaints.append(f"the fault had no effect: {error}")
        injected = Injected()
    # Until it is well for a while, or has not been for too long.
    while time.monotonic() < injected.ended_s + RECOVERY_LIMIT_S + 0.5:
        await asyncio.sleep(0.02)
        if time.monotonic() >= _recovered_s(clients.answers, injected) + _AFTER_S:
            break
    await clients.drained()
    answers = list(clients.answers)
    recovery_s = max(0.0, _recovered_s(answers, injected) - injected.ended_s)
    complaints += _of_answers(answers, began_s, injected, ANSWER_LIMIT_S + clients.worst_lag_s)
    if recovery_s > RECOVERY_LIMIT_S + clients.worst_lag_s:
        complaints.append(f"service was back {recovery_s:.2f} s after the fault had ended")
    if world.worst_memory_bytes > MEMORY_LIMIT_BYTES:
        complaints.append(f"a worker had {world.worst_memory_bytes >> 20} MiB")
    if not injected.workers_change and {worker.pid for worker in world.workers()} != workers:
        complaints.append(f"the workers were {sorted(workers)} before, and are others now")
    complaints += await world.audit()
    return Round(
        kind.name,
        injected.ended_s - began_s,
        len(answers),
        dict(sorted(Counter(answer.status for answer in answers).items(), reverse=True)),
        max((each.seconds for each in answers if not injected.excused(each)), default=0.0),
        recovery_s,
        world.worst_memory_bytes,
        clients.worst_lag_s,
        complaints,
    )


def _recovered_s(answers: Sequence[Answer], injected: Injected) -> float:
    """Tell when the first 200 after the fault had come, and the last of what was no 200."""
    after = [answer for answer in answers if answer.received_s > injected.ended_s]
    good = [answer.received_s for answer in after if answer.status == 200]
    bad = [answer.received_s for answer in after if answer.status != 200 and not injected.excused(answer)]
    return max(min(good, default=float("inf")), max(bad, default=0.0))


def _of_answers(answers: Sequence[Answer], began_s: float, injected: Injected, limit_s: float) -> list[str]:
    """Say what clients saw that they should not have seen."""
    found: list[str] = []
    if not any(answer.status == 200 and answer.received_s < began_s for answer in answers):
        found.append("nothing was stored before the fault")
    for answer in answers:
        excused = injected.excused(answer)
        only_200 = injected.only_200 or answer.received_s < began_s
        if (wrong := _wrong(answer, only_200)) and not (excused and answer.status == 0):
            found.append(f"{answer.sent_s - began_s:+.2f} s, after {answer.seconds:.2f} s: {wrong}")
        if answer.seconds > limit_s and not excused:
            found.append(f"{answer.sent_s - began_s:+.2f} s: an answer after {answer.seconds:.2f} s")
    if len(found) > _SHOWN:
        found[_SHOWN:] = [f"… and {len(found) - _SHOWN} more of them"]
    return found


def _wrong(answer: Answer, only_200: bool) -> str:
    if answer.status == 0:
        return f"a broken connection, {answer.problem}"
    if answer.problem:
        return answer.problem
    if answer.status not in _STATUSES:
        return f"an answer {answer.status}"
    if answer.status != 200 and not (answer.retry_after or "").isdecimal():
        return f"a {answer.status} without Retry-After"
    if answer.status != 200 and only_200:
        return f"a {answer.status}, where none is to be"
    return ""
