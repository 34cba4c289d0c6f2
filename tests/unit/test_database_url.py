"""
URLs as people write and paste them. The examples are libpq's and pgjdbc's own forms.
"""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from m3w_core.database_url import DatabaseSettings, parse_database_url
from m3w_core.exceptions import SettingsError

# What PostgreSQL takes in a start-up message: any text but NUL.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def database(**given):
    defaults = {"host": "db", "database": "m3w", "user": "u"}
    return DatabaseSettings(**defaults | given)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u@db/m3w", database()),
        ("postgres://u@db/m3w", database()),
        ("POSTGRESQL://u@db/m3w\n", database()),
        ("jdbc:postgresql://db/m3w?user=u", database()),
        ("postgresql://u:p@db:5433/m3w", database(password="p", port=5433)),
        ("postgresql://u:p:q@r@db/m3w", database(password="p:q@r")),
        ("postgresql://u:%20%3a%2F%3f%23@db/m3w", database(password=" :/?#")),
        ("postgresql://u:a+b#c@db/m3w", database(password="a+b#c")),
        ("jdbc:postgresql://db:5433/m3w?user=u&password=a%2Bb+c", database(password="a+b c", port=5433)),
        ("jdbc:postgresql://db/m3w?user=u@azure&password=p@q", database(user="u@azure", password="p@q")),
        ("postgresql://db/m3w?user=u&password=a+b", database(password="a+b")),
        ("postgresql://ignored:x@db/m3w?user=u&password=p", database(password="p")),
        ("postgresql://u@db/my%2Fdb%40home", database(database="my/db@home")),
        ("postgresql://u@db/?dbname=m3w", database()),
        ("postgresql://u@db", database(database="u")),
        ("postgresql://u@db/", database(database="u")),
        ("postgresql://u@db:/m3w", database()),
        ("postgresql://u@/m3w", database(host="localhost")),
        ("jdbc:postgresql:///m3w?user=u", database(host="localhost")),
        ("postgresql://u@[::1]/m3w", database(host="::1")),
        ("postgresql://u@[2001:db8::7]:5433/m3w", database(host="2001:db8::7", port=5433)),
        ("postgresql://u@[fe80::1%25eth0]/m3w", database(host="fe80::1%eth0")),
        (
            "postgresql:///m3w?user=u&host=/var/run/postgresql",
            database(host=None, unix_socket="/var/run/postgresql/.s.PGSQL.5432"),
        ),
        (
            "postgresql://u@/m3w?host=/run/pg/&port=5433",
            database(host=None, port=5433, unix_socket="/run/pg/.s.PGSQL.5433"),
        ),
        (
            "postgresql://u@%2Fvar%2Frun%2Fpostgresql:5433/m3w",
            database(host=None, port=5433, unix_socket="/var/run/postgresql/.s.PGSQL.5433"),
        ),
        ("postgresql://u@db/m3w?sslmode=disable", database(sslmode="disable")),
        ("postgresql://u@db/m3w?sslmode=prefer", database(sslmode="prefer")),
        ("postgresql://u@db/m3w?sslmode=Require", database(sslmode="require")),
        (
            "postgresql://u@db/m3w?sslmode=verify-ca&sslrootcert=/etc/ca.pem",
            database(sslmode="verify-ca", sslrootcert="/etc/ca.pem"),
        ),
        ("postgresql://u@db/m3w?sslmode=verify-full", database(sslmode="verify-full")),
        (
            "postgresql://u@db/m3w?sslrootcert=system",
            database(sslmode="verify-full", sslrootcert="system"),
        ),
        ("jdbc:postgresql://db/m3w?user=u&ssl=true", database(sslmode="verify-full")),
        ("jdbc:postgresql://db/m3w?user=u&ssl", database(sslmode="verify-full")),
        ("jdbc:postgresql://db/m3w?user=u&ssl=true&sslmode=require", database(sslmode="require")),
        ("jdbc:postgresql://db/m3w?user=u&ssl=false", database(sslmode="prefer")),
        ("postgresql://u@db/m3w?ssl=true", database(sslmode="require")),
        (
            (
                "jdbc:postgresql://db/m3w?ApplicationName=x&user=u&reWriteBatchedInserts=true&socketTimeout=30"
                "&tcpKeepAlive=true&prepareThreshold=0&loginTimeout=5&&currentSchema="
            ),
            database(),
        ),
        (
            (
                "postgresql://u@db/m3w?application_name=x&connect_timeout=5&keepalives=1&gssencmode=disable"
                "&target_session_attrs=read-write&channel_binding=prefer&options="
            ),
            database(),
        ),
    ],
)
def test_a_url_is_read_as_libpq_and_jdbc_read_it(url, expected):
    """
    The same URL means the same database, whoever reads it.
    """
    assert parse_database_url(url) == expected


@given(user=texts, password=texts, name=texts)
@example(user="u", password="a+b%20/?#@:&=", name="n")
def test_every_name_and_password_survives_percent_encoding(user, password, name):
    """
    What is encoded comes back as it was, in the address and in the parameters alike.
    """
    user_, password_, name_ = (quote(text, safe="") for text in (user, password, name))
    expected = database(user=user, password=password, database=name)

    assert parse_database_url(f"postgresql://{user_}:{password_}@db/{name_}") == expected
    assert parse_database_url(f"jdbc:postgresql://db/{name_}?user={user_}&password={password_}") == expected


delimiters = st.text(st.sampled_from("a1:/?#@&=%[],+. \n\0é\ud800"))


@given(
    head=delimiters,
    tail=delimiters,
    url=st.sampled_from(
        [
            "postgresql://user:{}@db:5432/media",
            "postgresql://user:{}@db",
            "jdbc:postgresql://db:5432/media?user=user&password={}",
            "postgresql://db/media?password={}",
            "{}",
        ]
    ),
    user=st.sampled_from([None, "operator"]),
)
@example(head="", tail="", url="postgresql://user:{}", user=None)
def test_no_password_however_written_shows_in_an_error_or_in_a_log(head, tail, url, user):
    """
    One character left unencoded moves the rest of a password to another part of the URL.
    """
    marker = "qzx"  # letters that no message has in this order
    try:
        shown = str(parse_database_url(url.format(f"{head}{marker}{tail}"), user))
    except SettingsError as error:
        shown = str(error)

    assert marker not in shown


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "expected a URL like postgresql://user:password@host:5432/database"),
        ("mysql://u@db/m3w", "expected a URL like postgresql://user:password@host:5432/database"),
        ("db:5432/m3w", "expected a URL like postgresql://user:password@host:5432/database"),
        ("jdbc:postgresql:m3w", "expected a URL like postgresql://user:password@host:5432/database"),
        ("postgresql://db/m3w", "no user is given: put it into the URL or set DATABASE_USER"),
        ("postgresql://u@h1,h2/m3w", "several hosts are given; give one, or a proxy in front of them"),
        ("postgresql://u@h1:1,h2:2/m3w", "several hosts are given; give one, or a proxy in front of them"),
        ("postgresql://u@/m3w?host=h1,h2", "several hosts are given; give one, or a proxy in front of them"),
        (
            "postgresql://u@::1/m3w",
            "host and port cannot be told apart; write an IPv6 address in brackets, [::1]:5432",
        ),
        (
            "postgresql://u@[::1/m3w",
            "host and port cannot be told apart; write an IPv6 address in brackets, [::1]:5432",
        ),
        ("postgresql://u@db..internal/m3w", "the host is not a valid host name"),
        ("postgresql://u@db/m3w?host=%00", "the host holds a NUL character"),
        ("postgresql://u%00@db/m3w", "the user holds a NUL character"),
        ("postgresql://u:%00@db/m3w", "the password holds a NUL character"),
        ("postgresql://u@db/%00", "the database holds a NUL character"),
        ("postgresql://u:\udc80@db/m3w", "the password is not UTF-8"),
        ("postgresql://u:%ff@db/m3w", "the password is not UTF-8 once its percent-encoding is undone"),
        (
            "postgresql://u:100%!@db/m3w",
            "the password holds a % without two hexadecimal digits after it; write % itself as %25",
        ),
        (
            "postgresql://u:12/3@db/m3w",
            "the database's name holds / or @; in names and passwords write / as %2F, @ as %40 and % as %25",
        ),
        (
            "postgresql://u:12?3@db/m3w",
            "a parameter after the ? has no =; in a password write ? as %3F and & as %26",
        ),
        ("postgresql://u:12?a=@db/m3w", "an @ stands after the ?; in a password write ? as %3F and @ as %40"),
        (
            "postgresql://u@db/m3w?sslmode=allow",
            "sslmode is none of disable, prefer, require, verify-ca, verify-full",
        ),
        (
            "postgresql://u@db/m3w?sslmode=require&sslrootcert=system",
            "sslrootcert=system needs sslmode=verify-full",
        ),
        (
            "jdbc:postgresql://db/m3w?user=u&currentSchema=app",
            (
                "the parameter currentSchema is not supported: set it on the role instead: "
                "ALTER ROLE ... SET search_path = ..."
            ),
        ),
        (
            "postgresql://u@db/m3w?options=-csearch_path%3Dapp",
            "the parameter options is not supported: set such parameters on the role instead: ALTER ROLE ... SET ...",
        ),
        (
            "postgresql://u@db/m3w?channel_binding=require",
            "the parameter channel_binding is not supported: sslmode=verify-full protects against the same",
        ),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_what_to_do(url, complaint):
    """
    Nothing is guessed that would reach another database, or reach it less safely than was asked for.
    """
    with pytest.raises(SettingsError) as caught:
        parse_database_url(url)

    assert str(caught.value) == complaint


@pytest.mark.parametrize("port", ["0", "65536", "-1", "1e3", "\u0665", "postgres", " 5432"])
@pytest.mark.parametrize("form", ["postgresql://u@db:{}/m3w", "postgresql://u@db/m3w?port={}"])
def test_a_port_is_a_number_from_1_to_65535(form, port):
    """
    A port that is none is often the middle of a password.
    """
    with pytest.raises(SettingsError) as caught:
        parse_database_url(form.format(port))

    assert str(caught.value) == (
        "the port is not a number from 1 to 65535; in a password write / as %2F and @ as %40"
    )


def test_user_and_password_given_apart_win_over_the_url():
    """
    Where they are given apart, the URL need not hold them, and the user's name is the database's still.
    """
    assert parse_database_url("postgresql://x:y@db", "u", "p") == database(database="u", password="p")


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (
            database(password="s3cret", user="m3w", database="media3watch"),
            "postgresql://m3w@db:5432/media3watch",
        ),
        (database(host="::1", port=5433), "postgresql://u@[::1]:5433/m3w"),
        (database(user="a@b\n", database="x/y"), "postgresql://a%40b%0A@db:5432/x%2Fy"),
        (database(host=None, unix_socket="/run/pg/.s.PGSQL.5432"), "postgresql://u@/m3w?host=/run/pg"),
        (
            database(host=None, unix_socket="/run/pg/.s.PGSQL.5433", port=5433),
            "postgresql://u@/m3w?host=/run/pg&port=5433",
        ),
    ],
)
def test_a_database_prints_as_a_url_without_its_password(settings, url):
    """
    What a log shows can be pasted back, but for the password.
    """
    assert str(settings) == url
    assert parse_database_url(url, password=settings.password) == settings
    assert "s3cret" not in repr(settings)
