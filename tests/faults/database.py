"""
Faults of the database, of its disk and of the way to it.

A fault that has had no effect raises `NoEffectError`, or a round would prove nothing.
"""

from __future__ import annotations

import asyncio
import signal
import time

from tests.faults.fault import Injected, effect
from tests.faults.postgres import PASSWORD, ROLE
from tests.faults.world import World

#: A restart of the database that takes no longer costs no request.
FREE_OUTAGE_S = 5.0

_TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"

_POLL_S = 0.01

# More than two workers let wait; those that are turned away do not wait for the database first.
_FLOOD_REQUESTS, _FLOOD_BYTES, _EARLY_S = 170, 900_000, 5.0


async def _away(world: World, number: signal.Signals, seconds: float, *, everybody: bool = False) -> Injected:
    """End the database and start it again, so that it is away for *seconds*."""
    began_s = time.monotonic()
    refusing = world.random.random() < 0.5
    if refusing:
        await world.proxy.refuse()
    await world.postgres.end(number, everybody=everybody)
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began_s)))
    await world.postgres.start()
    if refusing:
        await world.proxy.listen()
    ended_s = time.monotonic()
    return Injected(ended_s, only_200=ended_s - began_s <= FREE_OUTAGE_S)


async def killed(world: World, seconds: float) -> Injected:
    return await _away(world, signal.SIGKILL, seconds, everybody=world.random.random() < 0.5)


async def stopped_at_once(world: World, seconds: float) -> Injected:
    return await _away(world, signal.SIGQUIT, seconds)


async def stopped(world: World, seconds: float) -> Injected:
    return await _away(world, signal.SIGINT, seconds)


async def connections_terminated(world: World, seconds: float) -> Injected:
    ended = 0
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        ended += len(await world.postgres.run(_TERMINATE))
        await asyncio.sleep(world.random.uniform(0.02, 0.3))
    effect(ended, "there was no connection to terminate")
    return Injected(only_200=seconds <= FREE_OUTAGE_S)


async def black_hole(world: World, seconds: float) -> Injected:
    before = world.proxy.held_back
    world.proxy.hold()
    await asyncio.sleep(seconds)
    # Either what was sent arrives late, or a router has forgotten the connections.
    if world.random.random() < 0.5:
        world.proxy.reset()
    world.proxy.release()
    effect(world.proxy.held_back > before, "nothing went through the proxy")
    return Injected()


async def cut(world: World, seconds: float) -> Injected:
    before = world.proxy.cuts
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        answers = world.random.random() < 0.5
        world.proxy.cut_after(world.random.randint(0, 300 if answers else 40_000), answers=answers)
        await asyncio.sleep(world.random.uniform(0.02, 0.3))
    world.proxy.cut_after(1 << 62, answers=True)
    effect(world.proxy.cuts > before, "no connection was cut")
    return Injected(only_200=seconds <= FREE_OUTAGE_S)


async def delayed(world: World, seconds: float) -> Injected:
    before = world.proxy.held_back
    world.proxy.delay_s = world.random.uniform(0.05, 0.5)
    await asyncio.sleep(seconds)
    world.proxy.delay_s = 0.0
    effect(world.proxy.held_back > before, "nothing went through the proxy")
    return Injected()


async def locked(world: World, seconds: float) -> Injected:
    async with world.postgres.locked("sessions"):
        await asyncio.sleep(seconds)
        waiting = (await world.postgres.run("SELECT count(*) FROM pg_locks WHERE NOT granted"))[0][0]
    ended_s = time.monotonic()
    effect(waiting, "nobody waited for the lock")
    return Injected(ended_s)


async def flooded(world: World, seconds: float) -> Injected:
    """Far more comes than may wait, while nothing can be stored."""
    before = len(world.clients.answers)
    async with world.postgres.locked("sessions"):
        until_s = time.monotonic() + seconds
        for _ in range(_FLOOD_REQUESTS):
            world.clients.post(world.clients.large_request(_FLOOD_BYTES))
            await asyncio.sleep(0.005)
        await asyncio.sleep(max(0.0, until_s - time.monotonic()))
        early = [
            each for each in world.clients.answers[before:] if each.status == 503 and each.seconds < _EARLY_S
        ]
    effect(early, "the queue took everything")
    return Injected()


async def disk_full(world: World, seconds: float) -> Injected:
    offset = len(world.postgres.log)
    # Allocating takes a moment of its own, and PostgreSQL gives room back now and then.
    await asyncio.to_thread(world.postgres.fill_disk)
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        await asyncio.sleep(0.1)
        await asyncio.to_thread(world.postgres.fill_disk)
    world.postgres.free_disk()
    effect("No space left on device" in world.postgres.log[offset:], "the disk was not full")
    # It may have crashed and be recovering, or have given up: whoever runs it would start it again then.
    while not world.postgres.ready:
        if not world.postgres.running:
            await world.postgres.start()
        await asyncio.sleep(_POLL_S)
    return Injected()


async def read_only(world: World, seconds: float) -> Injected:
    offset = len(world.postgres.log)
    await world.postgres.run("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    await asyncio.sleep(seconds)
    await world.postgres.run("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
    ended_s = time.monotonic()
    effect("in a read-only transaction" in world.postgres.log[offset:], "nothing was refused")
    return Injected(ended_s)


async def password_wrong(world: World, seconds: float) -> Injected:
    offset = len(world.postgres.log)
    await world.postgres.run(
        f"ALTER ROLE {ROLE} PASSWORD 'another'",
        _TERMINATE,
    )
    await asyncio.sleep(seconds)
    await world.postgres.run(f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")
    ended_s = time.monotonic()
    effect("password authentication failed" in world.postgres.log[offset:], "nobody was refused")
    return Injected(ended_s)


async def database_frozen(world: World, seconds: float) -> Injected:
    world.postgres.freeze()
    await asyncio.sleep(seconds)
    world.postgres.thaw()
    return Injected()
