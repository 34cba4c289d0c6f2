"""
``python -m tests.faults``: breaks everything around the backend and the backend itself, round by round.

Every kind of fault comes once in as many rounds as there are kinds, in an order of chance. What is left to chance
follows from the seed that is printed; what the machine does meanwhile does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping

import click
import uvloop

from m3w_http import open_files
from tests._serve import Backend
from tests.faults.kinds import KINDS, Kind
from tests.faults.rounds import ANSWER_LIMIT_S, RECOVERY_LIMIT_S, Round, run_round
from tests.faults.world import World, a_world

#: In the long form, in these of ten passes over all kinds, faults last as long as they ever do.
_FULL_PASSES = (2, 7)

#: Lines of each log.
_SHOWN = 20

_SHORT_ROUNDS = len(KINDS)


def _plan(kinds: list[Kind], rounds: int, full: bool, source: random.Random) -> Iterator[tuple[Kind, float]]:
    """Say which fault comes in each round, and for how long."""
    planned = 0
    for number in range(rounds):
        for kind in source.sample(kinds, len(kinds)):
            if planned == rounds:
                return
            planned += 1
            yield kind, kind.full_s if full or number % 10 in _FULL_PASSES else source.uniform(*kind.short_s)


def _counts(statuses: Mapping[int, int]) -> str:
    return ", ".join(
        f"{statuses[status]:,} {status or 'broken'}" for status in sorted(statuses, reverse=True)
    )


def _line(number: int, rounds: int, done: Round) -> str:
    return (
        f"{number:3}/{rounds}  {done.name:24} {done.fault_s:5.1f} s  {done.requests:6,} requests: "
        f"{_counts(done.statuses)}; "
        f"slowest {done.slowest_s:.2f} s, recovered in {done.recovery_s:.2f} s, {done.memory_bytes >> 20} MiB  "
        f"{'FAILED' if done.complaints else 'ok'}"
    )


def _trouble(done: Round, world: World, backend: Backend, logged: int, postgres_logged: int) -> str:
    """Say what is wrong, and what was logged meanwhile."""
    if world.backend is not backend:
        logged = 0
    lines = done.complaints[:_SHOWN]
    lines += ["backend:", *world.backend.err[logged:].splitlines()[-_SHOWN:]]
    lines += ["PostgreSQL:", *world.postgres.log[postgres_logged:].splitlines()[-_SHOWN:]]
    return "\n".join(f"         {line}" for line in lines)


def _summary(done: list[Round], world: World, seconds: float) -> str:
    statuses: Counter[int] = Counter()
    for each in done:
        statuses.update(each.statuses)
    acknowledged = sum(1 for each in world.clients.playbacks.values() if each.acknowledged_ms)
    failed = [each for each in done if each.complaints]
    lines = [
        f"{len(done)} rounds in {seconds / 60:.1f} min, {len(failed)} failed",
        f"requests           {sum(statuses.values()):,}: {_counts(statuses)}",
        f"sessions           {len(world.clients.playbacks):,} sent, {acknowledged:,} acknowledged",
        f"slowest answer     {max(each.slowest_s for each in done):.2f} s (limit {ANSWER_LIMIT_S:g} s)",
        f"slowest recovery   {max(each.recovery_s for each in done):.2f} s (limit {RECOVERY_LIMIT_S:g} s)",
        f"largest worker     {max(each.memory_bytes for each in done) >> 20} MiB",
        f"clients held up    {max(each.lag_s for each in done):.2f} s at the worst",
    ]
    for name, times in sorted(Counter(each.name for each in failed).items()):
        lines.append(f"failed             {name}, {times} times")
    return "\n".join(lines)


async def _run(rounds: int, seed: int, full: bool, only: tuple[str, ...]) -> bool:
    # However it is ended, it stops what it has started and takes its disk away.
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    started_s = time.monotonic()
    async with a_world(seed) as world, asyncio.TaskGroup() as group:
        kinds = [kind for kind in KINDS if not only or kind.name in only]
        for kind in [kind for kind in kinds if kind.needs_disk and not world.full_disk_possible]:
            click.echo(f"skipped: {kind.name}, as mounting a small disk needs root and is not allowed here")
            kinds.remove(kind)
        background = [
            group.create_task(world.clients.keep_posting()),
            group.create_task(world.watch_memory()),
        ]
        done = []
        for number, (kind, seconds) in enumerate(_plan(kinds, rounds, full, world.random), 1):
            before = (world.backend, len(world.backend.err), len(world.postgres.log))
            done.append(await run_round(world, kind, seconds))
            click.echo(_line(number, rounds, done[-1]))
            if done[-1].complaints:
                click.echo(_trouble(done[-1], world, *before))
        lost = await world.audit(everything=True)
        for complaint in lost[:50]:
            click.echo(f"in the end: {complaint}")
        for task in background:
            task.cancel()
        click.echo(f"\nseed {seed}\n{_summary(done, world, time.monotonic() - started_s)}")
    return not lost and not any(each.complaints for each in done)


@click.command
@click.option("--rounds", default=_SHORT_ROUNDS, show_default=True, help="How many; the long form is 200.")
@click.option("--seed", type=int, help="Of an earlier run, to have the same faults again.")
@click.option("--full", is_flag=True, help="Let every fault last as long as it does in some rounds of 200.")
@click.option(
    "--only", multiple=True, type=click.Choice([kind.name for kind in KINDS]), help="This kind; repeatable."
)
def main(rounds: int, seed: int | None, full: bool, only: tuple[str, ...]) -> None:
    """Inject faults, and tell by the exit status whether every promise was kept."""
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    click.echo(f"seed {seed}")
    # For the clients of 500 requests a second.
    open_files.allow_many()
    with contextlib.suppress(asyncio.CancelledError):
        sys.exit(0 if uvloop.run(_run(rounds, seed, full, only)) else 1)
    sys.exit("Stopped.")


if __name__ == "__main__":
    main()
