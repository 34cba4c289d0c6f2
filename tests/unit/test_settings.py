"""
The rules of every environment variable. An environment is a plain mapping here: nothing reads the process's own.
"""

from __future__ import annotations

import pytest

from m3w_core.database_url import DatabaseSettings
from m3w_core.exceptions import SettingsError
from m3w_core.settings import Settings, describe


def problem(**environ):
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    return str(caught.value)


def test_an_empty_environment_gives_the_defaults():
    """
    Nothing has to be set.
    """
    assert Settings.from_env({}) == Settings(
        api_keys={},
        database=None,
        port=8080,
        log_level="INFO",
        log_format="text",
        metrics_enabled=True,
        metrics_token=None,
        metrics_port=None,
        rate_limit_requests=0,
        rate_limit_window_s=60,
        rate_limit_storage_uri=None,
        retention_days=90,
        migrate="auto",
        max_body_bytes=1048576,
        ignored=(),
    )


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("PORT", "0", "port", 0),
        ("PORT", " 65535\n", "port", 65535),
        ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("LOG_LEVEL", "Info", "log_level", "INFO"),
        ("LOG_LEVEL", "WARN", "log_level", "WARNING"),
        ("LOG_LEVEL", "WARNING", "log_level", "WARNING"),
        ("LOG_LEVEL", "ERROR", "log_level", "ERROR"),
        ("LOG_LEVEL", "CRITICAL", "log_level", "CRITICAL"),
        ("LOG_FORMAT", "json", "log_format", "json"),
        ("LOG_FORMAT", "TEXT", "log_format", "text"),
        ("ENABLE_METRICS", "false", "metrics_enabled", False),
        ("ENABLE_METRICS", "0", "metrics_enabled", False),
        ("ENABLE_METRICS", "no", "metrics_enabled", False),
        ("ENABLE_METRICS", "Off", "metrics_enabled", False),
        ("ENABLE_METRICS", "TRUE", "metrics_enabled", True),
        ("ENABLE_METRICS", "1", "metrics_enabled", True),
        ("ENABLE_METRICS", "yes", "metrics_enabled", True),
        ("ENABLE_METRICS", "on", "metrics_enabled", True),
        ("METRICS_TOKEN", "t0ken", "metrics_token", "t0ken"),
        ("METRICS_PORT", "9091", "metrics_port", 9091),
        ("RATE_LIMIT_REQUESTS", "100", "rate_limit_requests", 100),
        ("RATE_LIMIT_STORAGE_URI", "rediss://:pw@r:1/2", "rate_limit_storage_uri", "rediss://:pw@r:1/2"),
        ("RATE_LIMIT_WINDOW_SEC", "1", "rate_limit_window_s", 1),
        ("RETENTION_DAYS", "0", "retention_days", 0),
        ("M3W_MIGRATE", "check", "migrate", "check"),
        ("M3W_MAX_BODY_BYTES", "1024", "max_body_bytes", 1024),
        ("M3W_MAX_CONNECTIONS", "7", "max_connections", 7),
        ("TRUSTED_PROXIES", "10.0.0.0/8, ::1", "trusted_proxies", ("10.0.0.0/8", "::1/128")),
        ("M3W_API_KEY", "s3cret,with=punctuation", "api_keys", {"default": "s3cret,with=punctuation"}),
        ("M3W_API_KEYS", "old=a==, new-2_B=b", "api_keys", {"old": "a==", "new-2_B": "b"}),
    ],
)
def test_a_variable_sets_its_field(variable, text, field, value):
    """
    Words may be in any case, and space around a value that is no secret does not count.
    """
    assert getattr(Settings.from_env({variable: text}), field) == value


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("PORT", "65536", "PORT: '65536' is not valid; expected a whole number from 0 to 65535"),
        ("PORT", "-1", "PORT: '-1' is not valid; expected a whole number from 0 to 65535"),
        ("PORT", "8_080", "PORT: '8_080' is not valid; expected a whole number from 0 to 65535"),
        ("PORT", "٨٠", "PORT: '٨٠' is not valid; expected a whole number from 0 to 65535"),
        ("PORT", "9" * 5000, f"PORT: '{'9' * 60}' is not valid; expected a whole number from 0 to 65535"),
        (
            "LOG_LEVEL",
            "loud",
            "LOG_LEVEL: 'loud' is not valid; expected one of debug, info, warn, warning, error, critical",
        ),
        ("LOG_FORMAT", "xml", "LOG_FORMAT: 'xml' is not valid; expected one of text, json"),
        (
            "ENABLE_METRICS",
            "maybe",
            "ENABLE_METRICS: 'maybe' is not valid; expected one of true, false, yes, no, on, off, 1, 0",
        ),
        (
            "RATE_LIMIT_REQUESTS",
            "many",
            "RATE_LIMIT_REQUESTS: 'many' is not valid; expected a whole number from 0 to 1000000000",
        ),
        (
            "RATE_LIMIT_WINDOW_SEC",
            "0",
            "RATE_LIMIT_WINDOW_SEC: '0' is not valid; expected a whole number from 1 to 86400",
        ),
        (
            "RATE_LIMIT_STORAGE_URI",
            "memcached://:s3cret@127.0.0.1",
            "RATE_LIMIT_STORAGE_URI: expected redis://host:6379/0, or rediss:// where it speaks TLS",
        ),
        (
            "RETENTION_DAYS",
            "1.5",
            "RETENTION_DAYS: '1.5' is not valid; expected a whole number from 0 to 36500",
        ),
        ("M3W_MIGRATE", "never", "M3W_MIGRATE: 'never' is not valid; expected one of auto, check"),
        (
            "M3W_MAX_BODY_BYTES",
            "1023",
            "M3W_MAX_BODY_BYTES: '1023' is not valid; expected a whole number from 1024 to 1073741824",
        ),
        (
            "TRUSTED_PROXIES",
            "10.0.0.1/8",
            (
                "TRUSTED_PROXIES: '10.0.0.1/8' is not valid; "
                "expected IP addresses or networks, 10.0.0.0/8, with commas between them"
            ),
        ),
    ],
)
def test_a_bad_value_is_named_with_what_is_expected(variable, text, expected):
    """
    The message names the variable, shows the value and says what would do.
    """
    assert problem(**{variable: text}) == expected


def test_all_bad_values_are_listed_at_once():
    """
    Nobody has to start once for each mistake.
    """
    message = problem(PORT="http", LOG_FORMAT="xml", DATABASE_URL="mysql://db", M3W_API_KEY="two words")

    assert [line.partition(":")[0] for line in message.splitlines()] == [
        "M3W_API_KEY",
        "DATABASE_URL",
        "PORT",
        "LOG_FORMAT",
    ]


def test_an_empty_value_counts_as_not_set():
    """
    A compose file passes on empty strings for what its .env leaves out.
    """
    names = [setting.name for setting in describe()]
    empty = dict.fromkeys([*names, *(f"{name}_FILE" for name in names), "HIKARI_MIN_IDLE"], "")

    assert Settings.from_env(empty) == Settings.from_env({})


@pytest.mark.parametrize("key", ["two words", "tab\there", "two\nlines", "schlüssel", "\x7f", "nul\0"])
@pytest.mark.parametrize("form", ["M3W_API_KEY", "M3W_API_KEYS"])
def test_a_key_that_cannot_travel_in_a_header_is_refused(form, key):
    """
    A key is printable ASCII without spaces, and a bad one is not shown.
    """
    message = problem(**{form: key if form == "M3W_API_KEY" else f"a=1,phone={key},b=2"})

    assert message.startswith(f"{form}: expected ")
    assert "printable ASCII" in message
    assert key not in message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("s3cret", "entry 1 is not like that"),
        ("a=1,s3cret", "entry 2 is not like that"),
        ("a=1,", "entry 2 is not like that"),
        ("=s3cret", "entry 1 is not like that"),
        ("a=", "entry 1 is not like that"),
        ("my phone=s3cret", "entry 1 is not like that"),
        (f"{'n' * 65}=s3cret", "entry 1 is not like that"),
        ("a=1,b=2,a=s3cret", "entry 3 repeats an earlier one's"),
    ],
)
def test_a_list_of_keys_is_refused_without_showing_any(text, complaint):
    """
    Each entry is name=key, and the names differ.
    """
    message = problem(M3W_API_KEYS=text)

    assert message.startswith("M3W_API_KEYS: expected ")
    assert message.endswith(complaint)
    assert "s3cret" not in message


def test_both_key_variables_together_give_all_keys():
    """
    For a rotation the new keys stand beside the old one.
    """
    settings = Settings.from_env({"M3W_API_KEY": "old", "M3W_API_KEYS": "phone=p,tv=t"})

    assert settings.api_keys == {"default": "old", "phone": "p", "tv": "t"}


def test_the_name_of_the_single_key_cannot_be_given_twice():
    """
    A name says which key it was, so each name has one.
    """
    message = problem(M3W_API_KEY="s3cret", M3W_API_KEYS="default=other")

    assert message == ("M3W_API_KEY: a key named default is in M3W_API_KEYS too; rename it or leave one out")


def test_database_variables_make_one_database():
    """
    DATABASE_USER and DATABASE_PASSWORD win over the URL, as in the Kotlin backend.
    """
    settings = Settings.from_env(
        {
            "DATABASE_URL": "jdbc:postgresql://db:5433/media3watch?user=u&password=p",
            "DATABASE_USER": "m3w",
            "DATABASE_PASSWORD": " s3cret ",
        }
    )

    assert settings.database == DatabaseSettings(
        host="db", port=5433, database="media3watch", user="m3w", password=" s3cret "
    )


def test_a_user_and_a_password_without_a_url_are_no_database():
    """
    Which database it is, only DATABASE_URL says.
    """
    assert Settings.from_env({"DATABASE_USER": "m3w", "DATABASE_PASSWORD": "p"}).database is None


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("M3W_API_KEY", "s3cret", "api_keys", {"default": "s3cret"}),
        ("M3W_API_KEYS", "a=1,b=2", "api_keys", {"a": "1", "b": "2"}),
        (
            "DATABASE_URL",
            "postgresql://u@db/m3w",
            "database",
            DatabaseSettings(host="db", database="m3w", user="u"),
        ),
    ],
)
def test_a_secret_comes_from_a_file_without_its_last_newline(tmp_path, variable, text, field, value, ending):
    """
    Docker secrets are files, and editors end them with a newline.
    """
    secret = tmp_path / "secret"
    secret.write_bytes(f"{text}{ending}".encode())

    assert getattr(Settings.from_env({f"{variable}_FILE": str(secret)}), field) == value


def test_only_one_newline_is_taken_off_a_secret(tmp_path):
    """
    A password may end in one.
    """
    secret = tmp_path / "secret"
    secret.write_text("p\n\n")
    environ = {"DATABASE_URL": "postgresql://u@db", "DATABASE_PASSWORD_FILE": str(secret)}

    assert Settings.from_env(environ).database.password == "p\n"


def test_a_secret_that_is_given_twice_is_refused(tmp_path):
    """
    Nobody has to guess which of them wins.
    """
    secret = tmp_path / "secret"
    secret.write_text("a")

    assert problem(M3W_API_KEY="s3cret", M3W_API_KEY_FILE=str(secret)) == (
        "M3W_API_KEY: set, and M3W_API_KEY_FILE too; leave one of them out"
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "is not UTF-8 text"),
    ],
)
def test_a_secret_file_that_holds_no_secret_is_refused(tmp_path, content, complaint):
    """
    Taken for "not set", it would open the server to the development key.
    """
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)

    assert problem(M3W_API_KEY_FILE=str(secret)) == f"M3W_API_KEY_FILE: {str(secret)!r} {complaint}"


def test_what_is_wrong_in_a_file_is_reported_under_the_file_variable(tmp_path):
    """
    The name is that of the variable which is set.
    """
    secret = tmp_path / "secret"
    secret.write_text("two words")

    assert problem(M3W_API_KEY_FILE=str(secret)).startswith("M3W_API_KEY_FILE: expected ")


def test_variables_of_the_old_connection_pool_are_told_apart():
    """
    An old .env works as it is, and the caller can log what does nothing.
    """
    settings = Settings.from_env({"HIKARI_MAX_POOL_SIZE": "lots", "HIKARI_MIN_IDLE": ""})

    assert settings.ignored == ("HIKARI_MAX_POOL_SIZE",)


def test_no_secret_is_in_the_repr():
    """
    Settings may be logged.
    """
    settings = Settings.from_env(
        {
            "M3W_API_KEY": "s3cret",
            "M3W_API_KEYS": "a=s3cret",
            "DATABASE_URL": "postgresql://u:s3cret@db/m3w",
            "DATABASE_PASSWORD": "s3cret",
            "METRICS_TOKEN": "s3cret",
            "RATE_LIMIT_STORAGE_URI": "redis://:s3cret@redis",
        }
    )

    assert "s3cret" not in repr(settings)
    assert "host='db'" in repr(settings)


def test_every_variable_is_described_with_its_default():
    """
    README's table is held against this list.
    """
    assert {setting.name: setting.default for setting in describe()} == {
        "M3W_API_KEY": "",
        "M3W_API_KEYS": "",
        "DATABASE_URL": "",
        "DATABASE_USER": "",
        "DATABASE_PASSWORD": "",
        "PORT": "8080",
        "LOG_LEVEL": "INFO",
        "LOG_FORMAT": "text",
        "ENABLE_METRICS": "true",
        "METRICS_TOKEN": "",
        "METRICS_PORT": "",
        "RATE_LIMIT_REQUESTS": "0",
        "RATE_LIMIT_WINDOW_SEC": "60",
        "RATE_LIMIT_STORAGE_URI": "",
        "RETENTION_DAYS": "90",
        "M3W_MIGRATE": "auto",
        "GRAFANA_DB_PASSWORD": "",
        "M3W_MAX_BODY_BYTES": "1048576",
        "M3W_MAX_CONNECTIONS": "10000",
        "TRUSTED_PROXIES": "",
    }
    assert {setting.name for setting in describe() if setting.secret} == {
        "M3W_API_KEY",
        "M3W_API_KEYS",
        "DATABASE_URL",
        "DATABASE_PASSWORD",
        "METRICS_TOKEN",
        "RATE_LIMIT_STORAGE_URI",
        "GRAFANA_DB_PASSWORD",
    }
