"""
What docs/operations.md tells people to type, for the tests that type it.
"""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()


def block(language: str, holding: str) -> str:
    """Give the one code block of a language that holds a text."""
    found = [code for code in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL) if holding in code]
    assert len(found) == 1, f"{len(found)} blocks of {language} hold {holding!r}"
    return found[0]
