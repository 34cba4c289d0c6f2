"""
The limit on open files is raised, where it is low and may be.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

_, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)

SCRIPT = """
import resource, sys
from m3w_http.open_files import allow_many

resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
allow_many()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def raised(soft, hard):
    """Give the limits of a process that was started with these."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(soft), str(hard)], capture_output=True, check=True, text=True
    )
    return tuple(int(word) for word in done.stdout.split())


@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [(256, 3000, (3000, 3000)), (3000, 3000, (3000, 3000)), (256, HARD, (min(HARD, 65_536), HARD))],
)
def test_the_limit_is_raised_as_far_as_it_may_be(soft, hard, after):
    """
    The hard limit stays; without it being low, 65,536 are enough.
    """
    assert raised(soft, hard) == after
