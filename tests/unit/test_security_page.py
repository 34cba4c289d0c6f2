"""
docs/security.md and the tree agree.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = [ROOT, ROOT / "src", *(ROOT / "tests").glob("*/")]


def test_every_file_that_the_page_names_is_there():
    """
    Else it would send its readers to look for a defence that has moved.
    """
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:m3w_\w+/|tests/)?[\w/*]+\.(?:py|lock|yml))`", page))
    missing = {name for name in named if not any(list(place.glob(name)) for place in PLACES)}

    assert len(named) > 15
    assert missing == set()
