"""What a fault is to the rounds: when it was over, and whom it excuses."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define, field

from tests.faults.clients import Answer


class NoEffectError(Exception):
    """The fault did not do what it is for."""


def _nobody(_: Answer) -> bool:
    return False


@define
class Injected:
    """
    A fault as it was.

    Args:
        ended_s: When it was over, by the monotonic clock; from then on service has to return.
        excused: Whose connection may have broken, or answer have come late.
        only_200: Whether nobody may have noticed it in the status.
        workers_change: Whether workers were replaced.
    """

    ended_s: float = field(factory=time.monotonic)
    excused: Callable[[Answer], bool] = _nobody
    only_200: bool = False
    workers_change: bool = False


def effect(happened: object, what: str) -> None:
    """Make sure that a fault has done something; else say *what* was missing."""
    if not happened:
        raise NoEffectError(what)
