"""A progress bar on standard error, where somebody looks at it; a log file gets none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click


@contextmanager
def progress_bar(label: str, length: int = 0) -> Iterator[Any]:
    """
    Show a bar for the length of the block.

    Args:
        label: What is going on.
        length: How much there is to do; it may be set later.

    Yields:
        Click's bar, or None where standard error is no terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar
