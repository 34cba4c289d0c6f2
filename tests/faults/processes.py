"""
Faults of the backend's own processes, and of its clients.

What a process had been sent before it was told to stop is answered. A connection may be closed just when something
is sent on it, so what comes later may break.
"""

from __future__ import annotations

import asyncio
import signal
import time

import psutil

from tests.faults.fault import Injected, effect
from tests.faults.world import World

_YEAR_MS = 366 * 86_400_000

#: What a worker has been sent by then, it has read.
_READ_S = 0.3


def _ports_of(worker: psutil.Process) -> set[int]:
    """Give the ports of the clients that are connected to a worker."""
    return {each.raddr.port for each in worker.net_connections("tcp4") if each.raddr}


async def worker_frozen(world: World, seconds: float) -> Injected:
    worker = world.random.choice(world.workers())
    worker.suspend()
    ports = _ports_of(worker)
    await asyncio.sleep(seconds)
    worker.resume()
    effect(ports, "nobody was connected to the worker")
    return Injected(excused=lambda answer: answer.port in ports)


async def worker_killed(world: World, seconds: float) -> Injected:
    worker = world.random.choice(world.workers())
    # So that it takes no connection that is not known here.
    worker.suspend()
    ports = _ports_of(worker)
    worker.kill()
    killed_s = time.monotonic()
    await asyncio.sleep(seconds)
    return Injected(killed_s, lambda answer: answer.port in ports, only_200=True, workers_change=True)


async def worker_terminated(world: World, seconds: float) -> Injected:
    worker = world.random.choice(world.workers())
    told_s = time.monotonic()
    worker.terminate()
    await asyncio.sleep(seconds)
    effect(not worker.is_running(), "the worker did not stop")
    # What had been sent before is answered; a connection may be closed just when something is sent on it.
    return Injected(
        told_s, lambda answer: answer.sent_s > told_s - _READ_S, only_200=True, workers_change=True
    )


async def _parent_ended(world: World, number: signal.Signals, seconds: float) -> Injected:
    told_s = time.monotonic()
    world.backend.process.send_signal(number)
    await world.stop_backend()
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - told_s)))
    await world.start_backend(world.clients.port)
    ended_s = time.monotonic()
    # From the signal until it has been started again nobody has promised to listen.
    return Injected(
        ended_s, lambda answer: answer.sent_s > told_s - _READ_S, only_200=True, workers_change=True
    )


async def parent_killed(world: World, seconds: float) -> Injected:
    return await _parent_ended(world, signal.SIGKILL, seconds)


async def parent_terminated(world: World, seconds: float) -> Injected:
    return await _parent_ended(world, signal.SIGTERM, seconds)


async def clocks_jump(world: World, seconds: float) -> Injected:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        world.clients.jump(world.random.randint(-20 * _YEAR_MS, 20 * _YEAR_MS))
        await asyncio.sleep(0.2)
    return Injected(only_200=True)
