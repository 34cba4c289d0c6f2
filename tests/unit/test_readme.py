"""
README and code say the same.
"""

from __future__ import annotations

import re
from pathlib import Path

from m3w_core.settings import describe

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_setting_is_in_the_table_and_no_other():
    """
    The table is written by hand and held against the one place where settings are declared.
    """
    section = README.partition("\n## Settings\n")[2]
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (?:`(.*?)`)? ?\| (.*) \|$", section, re.MULTILINE)

    assert rows == [(setting.name, setting.default, setting.description) for setting in describe()]


def test_every_error_code_is_in_the_table():
    """
    A client's author finds each of them explained.
    """
    source = (Path(__file__).parents[2] / "src" / "m3w_http" / "errors.py").read_text()
    codes = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', source))

    assert codes
    assert [code for code in sorted(codes) if f"`{code}`" not in README] == []
