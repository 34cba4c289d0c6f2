"""
Rounds of fuzzed requests: each is a number of them sent at the same time.

A round depends on the seed and its own number alone, so that one that fails can be sent again by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from attrs import define

from tests.fuzz._boundary import Boundary
from tests.fuzz._mutations import Requests

BODIES_PER_ROUND = 64
_ROUNDS_PER_CHECK = 50


@define
class Tally:
    """
    What has come of it so far.

    Args:
        bodies: How many were sent.
        stored: How many sessions they have made.
        slowest_round: Number of the round that took longest.
        slowest_round_s: How long.
    """

    bodies: int = 0
    stored: int = 0
    slowest_round: int = 0
    slowest_round_s: float = 0.0


def fuzz(boundary: Boundary, *, seed: int, bodies: int, first_round: int = 0) -> Iterator[Tally]:
    """
    Send at least so many requests, check every answer, and now and then all that was stored.

    Args:
        boundary: Where to.
        seed: Decides what is sent.
        bodies: How many requests.
        first_round: Where to begin.

    Yields:
        The tally after each round, one and the same.
    """
    tally = Tally()
    rounds = -(-bodies // BODIES_PER_ROUND)
    for number in range(first_round, first_round + rounds):
        requests = Requests(f"{seed}:{number}")
        batch = [requests.make() for _ in range(BODIES_PER_ROUND)]
        started = time.monotonic()
        try:
            boundary.together(batch)
            if number % _ROUNDS_PER_CHECK == _ROUNDS_PER_CHECK - 1 or number == first_round + rounds - 1:
                tally.stored += boundary.check_stored()
        except BaseException as error:
            error.add_note(f"Once more: python -m tests.fuzz --seed {seed} --first-round {number} --bodies 1")
            raise
        round_s = time.monotonic() - started
        if round_s > tally.slowest_round_s:
            tally.slowest_round_s, tally.slowest_round = round_s, number
        tally.bodies += len(batch)
        yield tally
