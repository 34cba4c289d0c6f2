"""
The life of the embedded PostgreSQL: what is kept, what ends with whom, and what a crash costs.

As root these tests run the server as another user, else as the one who runs them; both are to pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from m3w_core.database_url import DatabaseSettings
from m3w_http.embedded import EmbeddedPostgres, EmbeddedPostgresError, running, server
from m3w_http.embedded.programs import as_account, server_account
from tests._databases import connect, open_temporary_directory

PATIENCE_S = 30

OWNER = """
import sys
from pathlib import Path
from m3w_http.embedded import EmbeddedPostgres

postgres = EmbeddedPostgres(Path(sys.argv[1]))
postgres.start()
print(postgres.pid, flush=True)
sys.stdin.read()
"""

OWNER_WITH_CHILD = """
import os, signal, sys
from pathlib import Path
from m3w_http.embedded import EmbeddedPostgres

postgres = EmbeddedPostgres(Path(sys.argv[1]))
postgres.start()
child = os.fork()
if child == 0:
    signal.pause()
first = postgres.pid
os.kill(first, signal.SIGKILL)
os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
postgres.start()
print(first != postgres.pid, flush=True)
postgres.stop()
os.kill(child, signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server that runs, for tests that only look at it."""
    with open_temporary_directory() as directory:
        postgres = EmbeddedPostgres(directory / "data")
        with postgres:
            yield postgres


@contextmanager
def an_owner(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a process that has started a server on *data_dir*; gives it and the server's process ID."""
    command = [sys.executable, "-c", OWNER, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        try:
            yield owner, int(owner.stdout.readline())
        finally:
            owner.kill()


def run(database: DatabaseSettings, statement: str) -> list[list[object]]:
    with closing(connect(database)) as connection:
        return connection.run(statement) or []


def kill_server(postgres: EmbeddedPostgres) -> psutil.Process:
    assert postgres.pid is not None
    process = psutil.Process(postgres.pid)
    process.kill()
    return process


def test_it_is_postgresql_16_with_our_database(postgres):
    """
    Version 16, UTF-8, one database and one user of our own.
    """
    rows = run(
        running(postgres.data_dir),
        "SELECT current_setting('server_version_num')::int / 10000, current_database()::text,"
        " current_user::text, pg_encoding_to_char(encoding)::text"
        " FROM pg_database WHERE datname = current_database()",
    )

    assert rows == [[16, "media3watch", "m3w", "UTF8"]]


def test_what_it_acknowledges_is_on_disk(postgres):
    """
    The settings that make a commit durable are on.
    """
    rows = run(
        running(postgres.data_dir),
        "SELECT name::text, setting FROM pg_settings"
        " WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name",
    )

    assert rows == [["fsync", "on"], ["full_page_writes", "on"], ["synchronous_commit", "on"]]


def test_nobody_else_reaches_it(postgres):
    """
    It listens on a socket in a private directory, and nowhere else; its files are private too.
    """
    data_dir = postgres.data_dir
    database = running(data_dir)
    sockets = psutil.Process(postgres.pid).net_connections(kind="inet")
    modes = {
        name: (data_dir / name).stat().st_mode & 0o777 for name in ("postgresql-16", "postgresql.log", "run")
    }

    assert database.host is None
    assert database.unix_socket == str(data_dir / "run" / ".s.PGSQL.5432")
    assert sockets == []
    assert modes == {"postgresql-16": 0o700, "postgresql.log": 0o600, "run": 0o700}


def test_its_environment_holds_nothing_of_ours(data_dir, monkeypatch):
    """
    A key in our environment does not get into the server's, and PGPORT does not move its socket.
    """
    monkeypatch.setenv("M3W_API_KEY", "a-key-of-ours")
    monkeypatch.setenv("PGPORT", "6543")
    postgres = EmbeddedPostgres(data_dir)
    with postgres as database:
        names = set(psutil.Process(postgres.pid).environ())

    assert not names & {"M3W_API_KEY", "PGPORT"}
    assert database.port == 5432


def test_data_is_found_again_after_a_stop(data_dir):
    """
    The second start has the rows of the first.
    """
    with EmbeddedPostgres(data_dir) as database:
        run(database, "CREATE TABLE kept AS SELECT 7 AS n")
    with EmbeddedPostgres(data_dir) as database:
        rows = run(database, "SELECT n FROM kept")

    assert rows == [[7]]


def test_a_stop_leaves_no_process(data_dir):
    """
    When `stop` returns, the server and all its processes are gone; another stop does nothing.
    """
    postgres = EmbeddedPostgres(data_dir)
    postgres.start()
    process = psutil.Process(postgres.pid)
    processes = [process, *process.children(recursive=True)]
    postgres.stop()
    alive = [each for each in processes if each.is_running()]
    postgres.stop()

    assert len(processes) > 1
    assert alive == []
    assert postgres.pid is None


def test_a_server_that_does_not_stop_is_killed(data_dir, monkeypatch):
    """
    Even a frozen server is gone when `stop` returns.
    """
    monkeypatch.setattr(server, "_STOP_TIMEOUT_S", 0.2)
    monkeypatch.setattr(server, "_QUIT_TIMEOUT_S", 0.2)
    postgres = EmbeddedPostgres(data_dir)
    postgres.start()
    process = psutil.Process(postgres.pid)
    children = process.children(recursive=True)
    process.suspend()
    postgres.stop()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)

    assert not process.is_running()
    assert alive == []


def test_a_start_that_is_interrupted_leaves_nothing(data_dir, monkeypatch):
    """
    Ctrl-C while it starts stops what was started, and the next start works.
    """
    postgres = EmbeddedPostgres(data_dir)
    pids = []

    def interrupt(_: DatabaseSettings) -> None:
        pids.append(postgres.pid)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(server, "_make_database", interrupt)
        with pytest.raises(KeyboardInterrupt):
            postgres.start()
    gone = not psutil.pid_exists(pids[0])
    with postgres as database:
        rows = run(database, "SELECT 1")

    assert gone
    assert rows == [[1]]


def test_a_second_server_on_the_same_data_is_refused(data_dir):
    """
    The message names the process that has it; that one goes on undisturbed.
    """
    with an_owner(data_dir) as (owner, _):
        with pytest.raises(EmbeddedPostgresError) as refused:
            EmbeddedPostgres(data_dir).start()
        rows = run(running(data_dir), "SELECT 1")

    assert str(refused.value) == (
        f"{data_dir} is already in use by process {owner.pid}."
        " Stop that one first, or give another directory with --data-dir."
    )
    assert rows == [[1]]


def test_the_same_object_is_not_started_twice(postgres):
    """
    A start of a running server is refused like any other, and stops nothing.
    """
    pid = postgres.pid
    with pytest.raises(EmbeddedPostgresError, match=f"already in use by process {os.getpid()}"):
        postgres.start()

    assert postgres.pid == pid
    assert run(running(postgres.data_dir), "SELECT 1") == [[1]]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_it_ends_when_its_owner_is_killed(data_dir):
    """
    SIGKILL of the process that started it ends the server, in the orderly way: without recovery afterwards.
    """
    with an_owner(data_dir) as (owner, pid):
        process = psutil.Process(pid)
        owner.kill()
        process.wait(timeout=PATIENCE_S)
    log = (data_dir / "postgresql.log").read_text()

    assert "received fast shutdown request" in log
    assert log.rstrip().endswith("database system is shut down")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_it_starts_again_at_once_after_its_owner_was_killed(data_dir):
    """
    The next start waits for the old server, which is still being stopped.
    """
    with an_owner(data_dir) as (owner, _):
        owner.kill()
        owner.wait()
        with EmbeddedPostgres(data_dir) as database:
            rows = run(database, "SELECT 1")

    assert rows == [[1]]


def test_it_recovers_from_a_kill(data_dir):
    """
    After SIGKILL of the server the same object starts it again, with every row that was committed.
    """
    postgres = EmbeddedPostgres(data_dir)
    with postgres as database:
        run(database, "CREATE TABLE kept AS SELECT n FROM generate_series(1, 1000) AS n")
        kill_server(postgres).wait(timeout=PATIENCE_S)
        dead = postgres.pid
        rows = run(postgres.start(), "SELECT count(*) FROM kept")

    assert dead is None
    assert rows == [[1000]]
    assert "automatic recovery in progress" in (data_dir / "postgresql.log").read_text()


def test_it_starts_again_beside_children_of_its_owner(data_dir):
    """
    Processes that were forked while it ran, as workers are, do not keep their parent from starting it again.
    """
    command = [sys.executable, "-c", OWNER_WITH_CHILD, str(data_dir)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=PATIENCE_S)

    assert (done.stdout, done.stderr) == ("True\n", "")


def test_it_waits_for_what_a_killed_server_has_left(data_dir):
    """
    A process of the killed server that is slow to notice delays the next start, and does not make it fail.
    """
    postgres = EmbeddedPostgres(data_dir)
    log_file = data_dir / "postgresql.log"

    def release_when_refused(process: psutil.Process, until: threading.Event) -> None:
        while not until.wait(0.01):
            if "is still in use" in log_file.read_text():
                break
        process.resume()

    with postgres:
        straggler = psutil.Process(postgres.pid).children()[0]
        straggler.suspend()
        kill_server(postgres).wait(timeout=PATIENCE_S)
        enough = threading.Event()
        releaser = threading.Thread(target=release_when_refused, args=(straggler, enough))
        releaser.start()
        try:
            rows = run(postgres.start(), "SELECT 1")
        finally:
            enough.set()
            releaser.join()

    assert "is still in use" in log_file.read_text()
    assert rows == [[1]]


def test_a_process_id_that_is_another_process_by_now_does_not_matter(data_dir):
    """
    After a power failure the number of the old server may belong to any process of the same user.
    """
    postgres = EmbeddedPostgres(data_dir)
    pid_file = data_dir / "postgresql-16" / "postmaster.pid"
    with postgres:
        children = psutil.Process(postgres.pid).children()
        kill_server(postgres).wait(timeout=PATIENCE_S)
        psutil.wait_procs(children, timeout=PATIENCE_S)
        account = server_account(data_dir / "postgresql-16")
        with subprocess.Popen(["sleep", "600"], **as_account(account)) as stranger:
            try:
                old = pid_file.read_text().splitlines()
                pid_file.write_text("\n".join([str(stranger.pid), *old[1:]]) + "\n")
                rows = run(postgres.start(), "SELECT 1")
            finally:
                stranger.kill()

    assert rows == [[1]]


def test_others_find_a_server_that_runs(data_dir):
    """
    `running` gives the settings that `start` gave, and None before and after.
    """
    before = running(data_dir)
    with EmbeddedPostgres(data_dir) as database:
        found = running(data_dir)
    after = running(data_dir)

    assert (before, after) == (None, None)
    assert found == database


def test_a_killed_server_is_not_taken_for_running(data_dir):
    """
    The files that it leaves behind count for nothing.
    """
    postgres = EmbeddedPostgres(data_dir)
    with postgres:
        kill_server(postgres).wait(timeout=PATIENCE_S)
        left_behind = (data_dir / "postgresql-16" / "postmaster.pid").exists()
        found = running(data_dir)

    assert left_behind
    assert found is None
