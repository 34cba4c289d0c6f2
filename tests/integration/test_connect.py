"""
Connections to a real PostgreSQL: the socket's options, limits of time, TLS, and what a failure says.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve
from pg8000.exceptions import DatabaseError

from m3w_core._connect import open_connection
from m3w_core._errors import translate
from m3w_core.exceptions import StorageConfigurationError, StorageUnavailableError
from m3w_http.embedded import EmbeddedPostgres
from tests._front import Front, make_certificate


def connect(database, connect_timeout_s=10, statement_timeout_s=10):
    return open_connection(
        database,
        connect_timeout_s=connect_timeout_s,
        statement_timeout_s=statement_timeout_s,
        application_name="test_connect",
    )


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """For the name localhost."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(scope="session")
def foreign_certificate(tmp_path_factory):
    """For another name than the one the server is reached by."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "db.example.com")


def test_a_connection_is_ours_by_name_and_limited_in_time(database):
    """
    The server stops a statement that takes too long, and shows whose it is.
    """
    with closing(connect(database, statement_timeout_s=1.5)) as connection:
        rows = connection.run(
            "SELECT current_database(), current_user, current_setting('application_name'),"
            " current_setting('statement_timeout')"
        )

    assert rows == [[database.database, database.user, "test_connect", "1500ms"]]


def test_without_a_limit_nothing_is_timed_out(database):
    """
    A migration takes as long as it takes.
    """
    with closing(connect(database, statement_timeout_s=None)) as connection:
        timeout = connection.run("SHOW statement_timeout")

        assert timeout == [["0"]]
        assert connection._usock.gettimeout() is None


def test_the_socket_does_not_wait_to_fill_packets(database):
    """
    A message in several pieces would wait 40 ms for a delayed acknowledgement, so TCP_NODELAY is set.
    """
    with Front(database) as front, closing(connect(front.settings())) as connection:
        sock = connection._usock

        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0


def test_a_statement_that_takes_too_long_is_stopped_by_the_server(database):
    """
    The connection outlives it.
    """
    with closing(connect(database, statement_timeout_s=0.05)) as connection:
        with pytest.raises(Exception, match="statement timeout") as caught:
            connection.run("SELECT pg_sleep(60)")

        assert translate(caught.value).sqlstate == "57014"
        assert connection.run("SELECT 1") == [[1]]


def test_a_server_that_freezes_is_given_up_two_seconds_after_the_statement_s_time(database):
    """
    A frozen server stops no statement, so the socket has a limit of its own; then it is closed for good, however
    long the error is kept.
    """
    with Front(database) as front:
        connection = connect(front.settings(), statement_timeout_s=0.1)
        front.freeze()
        started = time.monotonic()
        with pytest.raises(OSError, match="timed out") as caught:
            connection.run("SELECT 1")
        waited_s = time.monotonic() - started
        connection.close()
        front.thaw()

        assert front.closed_by_client.wait(5)
        assert str(translate(caught.value)) == "it did not answer in time"
        assert 2.0 < waited_s < 8.0


@pytest.mark.parametrize(
    ("family", "sslmode"),
    [(socket.AF_INET, "disable"), (socket.AF_INET, "require"), (socket.AF_UNIX, "prefer")],
)
def test_a_server_that_never_answers_is_given_up_in_time(database, tmp_path, family, sslmode):
    """
    The kernel of a frozen machine still accepts connections.
    """
    path = f"{tmp_path}/.s.PGSQL.5432"
    with socket.create_server(
        ("127.0.0.1", 0) if family == socket.AF_INET else path, family=family
    ) as frozen:
        if family == socket.AF_INET:
            there = evolve(database, host="127.0.0.1", port=frozen.getsockname()[1], unix_socket=None)
        else:
            there = evolve(database, host=None, port=5432, unix_socket=path)
        with pytest.raises(StorageUnavailableError) as caught:
            connect(evolve(there, sslmode=sslmode), connect_timeout_s=0.2)

    assert str(caught.value) == f"cannot connect to {there}: it did not answer in time"


def test_where_nobody_listens_is_said_at_once(database, tmp_path):
    """
    The message says where, and what the system says.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    over_tcp = evolve(database, host="127.0.0.1", port=port, unix_socket=None)
    over_unix = evolve(database, host=None, port=5432, unix_socket=f"{tmp_path}/.s.PGSQL.5432")
    messages = []
    for settings in (over_tcp, over_unix):
        with pytest.raises(StorageUnavailableError) as caught:
            connect(settings)
        messages.append(str(caught.value))
        assert not isinstance(caught.value, StorageConfigurationError)

    assert messages == [
        f"cannot connect to {over_tcp}: Connection refused",
        f"cannot connect to {over_unix}: No such file or directory",
    ]


def test_what_the_caller_is_handling_is_not_taken_for_the_server_s_answer(database, tmp_path):
    """
    Connecting again after an error is the usual case, and that error was another one.
    """
    nowhere = evolve(database, host=None, port=5432, unix_socket=f"{tmp_path}/.s.PGSQL.5432")
    with closing(connect(database)) as connection:
        try:
            connection.run("SELECT 1 / 0")
        except DatabaseError:
            with pytest.raises(StorageUnavailableError) as caught:
                connect(nowhere)

    assert str(caught.value) == f"cannot connect to {nowhere}: No such file or directory"


@pytest.mark.parametrize(
    ("sslmode", "answer", "reason"),
    [
        ("prefer", b"HTTP/1.1 400 Bad", "it closed the connection or does not speak PostgreSQL's protocol"),
        ("disable", b"HTTP/1.1 400 Bad", "it did not answer in time"),
        ("disable", b"\0\0\0\0\4", "its answer could not be understood (KeyError)"),
        ("require", b"SSH-2.0-OpenSSH_9.2", "TLS failed: WRONG_VERSION_NUMBER"),
    ],
)
def test_what_does_not_speak_postgresql_is_no_crash(database, sslmode, answer, reason):
    """
    A port of some other service is a common mistake, and must not cost a socket each time.
    """
    with Front(database, answer=answer) as front:
        there = front.settings(sslmode=sslmode)
        with pytest.raises(StorageUnavailableError) as kept:
            connect(there, connect_timeout_s=1)

        assert str(kept.value) == f"cannot connect to {there}: {reason}"
        assert front.closed_by_client.wait(5)


def test_a_database_that_does_not_exist_needs_a_change(database):
    """
    What the server says is passed on, and that waiting does not help.
    """
    nowhere = evolve(database, database="m3w_no_such_database")
    with pytest.raises(StorageConfigurationError) as caught:
        connect(nowhere)

    assert caught.value.sqlstate == "3D000"
    assert str(caught.value) == (
        f'cannot connect to {nowhere}: database "m3w_no_such_database" does not exist (SQLSTATE 3D000)'
    )


def test_a_wrong_password_needs_a_change_and_is_never_shown(data_dir):
    """
    It is told apart from a server that is away, every time: the driver's own goodbye to the closed socket, which
    fails more often than not, must not hide it.
    """
    with EmbeddedPostgres(data_dir) as server, closing(connect(server)) as connection:
        connection.run("CREATE ROLE guarded LOGIN PASSWORD 'r1ght'")
        rules = Path(connection.run("SHOW hba_file")[0][0])
    rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
    with EmbeddedPostgres(data_dir) as server:
        right = evolve(server, user="guarded", password="r1ght")
        connect(right).close()
        errors = set()
        for _ in range(20):
            with pytest.raises(StorageConfigurationError) as caught:
                connect(evolve(right, password="wr0ng"))
            errors.add((caught.value.sqlstate, str(caught.value)))
        with pytest.raises(StorageConfigurationError) as caught:
            connect(evolve(right, password=None))

    message = f'cannot connect to {right}: password authentication failed for user "guarded" (SQLSTATE 28P01)'
    assert errors == {("28P01", message)}
    assert str(caught.value) == f"{message}; no password was given, set DATABASE_PASSWORD"


def test_a_refused_connection_is_closed_even_while_its_error_is_kept(database):
    """
    A server that is retried for hours must not collect our sockets.
    """
    with Front(database) as front:
        with pytest.raises(StorageConfigurationError) as kept:
            connect(front.settings(database="m3w_no_such_database"))

        assert front.closed_by_client.wait(5), kept


@pytest.mark.parametrize(
    ("sslmode", "trusts", "outcome"),
    [
        ("disable", None, "plain"),
        ("prefer", None, "TLS"),
        ("require", None, "TLS"),
        ("require", "it", "TLS"),
        ("require", "another", "refused"),
        ("verify-ca", "it", "TLS"),
        ("verify-ca", "another", "refused"),
        ("verify-ca", None, "refused"),
        ("verify-full", "it", "TLS"),
        ("verify-full", "another", "refused"),
        ("verify-full", None, "refused"),
        ("verify-full", "system", "refused"),
    ],
)
def test_sslmode_decides_what_is_checked(
    database, certificate, foreign_certificate, sslmode, trusts, outcome
):
    """
    As in libpq: a file of trusted certificates makes require check too, and prefer checks nothing.
    """
    roots = {"it": str(certificate.path), "another": str(foreign_certificate.path), "system": "system"}
    with Front(database, certificate.server_context) as front:
        there = front.settings(sslmode=sslmode, sslrootcert=roots.get(trusts))
        if outcome == "refused":
            with pytest.raises(
                StorageConfigurationError, match="the server's certificate is not trusted: self"
            ):
                connect(there)
        else:
            with closing(connect(there)) as connection:
                assert connection.run("SELECT 1") == [[1]]
                assert isinstance(connection._usock, ssl.SSLSocket) == (outcome == "TLS")
                assert connection._usock.gettimeout() == 12.0
                assert connection._usock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.parametrize(
    ("sslmode", "sslrootcert"), [("verify-ca", None), ("verify-full", None), ("verify-full", "system")]
)
def test_what_the_system_trusts_is_trusted_where_no_file_is_given(
    database, certificate, monkeypatch, sslmode, sslrootcert
):
    """
    Hosted databases have certificates of public authorities. SSL_CERT_FILE is how OpenSSL is told of others.
    """
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    with Front(database, certificate.server_context) as front:
        there = front.settings(sslmode=sslmode, sslrootcert=sslrootcert)
        with closing(connect(there)) as connection:
            assert connection.run("SELECT 1") == [[1]]


def test_only_verify_full_checks_the_name(database, foreign_certificate):
    """
    A certificate of the right authority for another host is one that somebody else has.
    """
    with Front(database, foreign_certificate.server_context) as front:
        there = front.settings(sslmode="verify-ca", sslrootcert=str(foreign_certificate.path))
        connect(there).close()
        with pytest.raises(StorageConfigurationError, match="not valid for 'localhost'"):
            connect(evolve(there, sslmode="verify-full"))


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_is_refused_where_tls_is_asked_for(database, sslmode):
    """
    Nothing is sent in plain text that was to be encrypted.
    """
    with Front(database, tls=None) as front:
        there = front.settings(sslmode=sslmode)
        with pytest.raises(StorageConfigurationError) as caught:
            connect(there)

    assert str(caught.value) == (
        f"cannot connect to {there}: the server does not offer TLS, which sslmode={sslmode} asks for"
    )


def test_prefer_goes_on_in_plain_text_where_there_is_no_tls(database):
    """
    This is what prefer means, and why it is not safe on an open network.
    """
    with Front(database, tls=None) as front, closing(connect(front.settings(sslmode="prefer"))) as connection:
        assert connection.run("SELECT 1") == [[1]]
        assert not isinstance(connection._usock, ssl.SSLSocket)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), ("no PEM", "it holds no certificate in PEM form")],
)
def test_a_file_of_trusted_certificates_that_cannot_be_used_is_named(
    database, certificate, tmp_path, content, reason
):
    """
    The message says which file, and what is wrong with it.
    """
    roots = tmp_path / "roots.pem"
    if content is not None:
        roots.write_text(content)
    with Front(database, certificate.server_context) as front:
        there = front.settings(sslmode="verify-full", sslrootcert=str(roots))
        with pytest.raises(StorageConfigurationError) as caught:
            connect(there)

    assert str(caught.value) == f"cannot connect to {there}: sslrootcert {roots} cannot be used: {reason}"
