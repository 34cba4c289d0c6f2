"""
The library example of README, run as it is.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

README = Path(__file__).parents[2] / "README.md"


def test_the_library_example_works(database, tmp_path):
    """
    Ten lines that migrate, store and read back; only the database is another.
    """
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    user, password = quote(database.user, safe=""), quote(database.password or "", safe="")
    host = "" if database.host is None else f"{database.host}:{database.port}"
    query = "" if database.unix_socket is None else f"?host={quote(str(Path(database.unix_socket).parent))}"
    url = f"postgresql://{user}:{password}@{host}/{database.database}{query}"
    script = tmp_path / "example.py"
    script.write_text(example.replace("postgresql://m3w:m3w@localhost:5432/media3watch", url))

    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)

    assert run.stderr == ""
    assert run.stdout.splitlines()[-1] == "45000"
    assert len(example.strip().splitlines()) <= 10
