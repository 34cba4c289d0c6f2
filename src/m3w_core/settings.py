"""
Every setting, with its environment variable, default and rule; nothing else reads the environment.

A variable that is set but empty counts as not set, because compose files pass on empty strings. Each secret
may come from a file instead, named by the same variable with ``_FILE`` after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from attrs import NOTHING, Attribute, Factory, field, fields, frozen

from m3w_core._variables import (
    Variable,
    api_key,
    choice,
    named_api_keys,
    networks,
    password,
    read,
    redis_uri,
    switch,
    whole_number,
)
from m3w_core.database_url import DatabaseSettings, parse_database_url
from m3w_core.exceptions import SettingsError

#: Of the Kotlin backend's connection pool: an old ``.env`` may still hold them, and they do nothing.
IGNORED_VARIABLES = ("HIKARI_MAX_POOL_SIZE", "HIKARI_MIN_IDLE")

#: What the key in M3W_API_KEY is called.
DEFAULT_KEY_NAME = "default"

_VARIABLES, _COMBINE = "m3w_variables", "m3w_combine"


@frozen
class SettingDescription:
    """A line of README's table; *default* is empty where there is none."""

    name: str
    default: str
    description: str
    secret: bool


def _setting(
    default: object,
    *variables: Variable,
    combine: Callable[..., object] = lambda value: value,
    show: bool = True,
) -> Any:
    return field(default=default, repr=show, metadata={_VARIABLES: variables, _COMBINE: combine})


def _all_keys(single: str | None, named: Mapping[str, str] | None) -> Mapping[str, str]:
    keys = {} if single is None else {DEFAULT_KEY_NAME: single}
    if single is not None and named is not None and DEFAULT_KEY_NAME in named:
        raise SettingsError(
            f"a key named {DEFAULT_KEY_NAME} is in M3W_API_KEYS too; rename it or leave one out"
        )
    return keys | dict(named or {})


def _database(url: str | None, user: str | None, password: str | None) -> DatabaseSettings | None:
    return None if url is None else parse_database_url(url, user, password)


@frozen(kw_only=True)
class Settings:
    """
    What can be set, checked.

    Args:
        api_keys: Key by name; none means that the development key is valid.
        database: None where no DATABASE_URL is given.
        port: To listen on; 0 lets the system choose.
        log_level: As in `logging`, in capitals.
        log_format: For people or for machines.
        metrics_enabled: Whether there is ``/metrics``.
        metrics_token: What ``/metrics`` asks for; None where anybody may read it.
        metrics_port: Where ``/metrics`` is; None where it is with everything else.
        rate_limit_requests: For each key and address in a window; 0 is no limit.
        rate_limit_window_s: Length of the window.
        rate_limit_storage_uri: Where the counts are; None where each process has its own.
        retention_days: How long sessions are kept; 0 is for ever.
        migrate: Whether a start applies migrations or only checks that they are.
        grafana_db_password: Of the role that Grafana reads with; None where there shall be none.
        max_body_bytes: Of one summary, after decompression too.
        max_connections: Of one worker.
        trusted_proxies: Networks whose ``X-Forwarded-For`` is believed.
        ignored: Names of variables that are set and do nothing.
    """

    api_keys: Mapping[str, str] = _setting(
        Factory(dict),
        Variable("M3W_API_KEY", "The key that clients send as `X-API-Key`.", api_key, secret=True),
        Variable(
            "M3W_API_KEYS", "More keys, to rotate them: `name=key,name=key`.", named_api_keys, secret=True
        ),
        combine=_all_keys,
        show=False,
    )
    database: DatabaseSettings | None = _setting(  # noqa: RUF009 - it gives attrs' field()
        None,
        Variable("DATABASE_URL", "`postgresql://…` or `jdbc:postgresql://…`.", secret=True),
        Variable("DATABASE_USER", "Wins over the user in `DATABASE_URL`."),
        Variable("DATABASE_PASSWORD", "Wins over the password in `DATABASE_URL`.", secret=True),
        combine=_database,
    )
    port: int = _setting(
        8080, Variable("PORT", "The port to listen on; 0 lets the system choose.", whole_number(0, 65_535))
    )
    log_level: str = _setting(
        "INFO",
        Variable(
            "LOG_LEVEL",
            "`DEBUG`, `INFO`, `WARN`, `ERROR` or `CRITICAL`.",
            choice(
                debug="DEBUG",
                info="INFO",
                warn="WARNING",
                warning="WARNING",
                error="ERROR",
                critical="CRITICAL",
            ),
        ),
    )
    log_format: Literal["text", "json"] = _setting(
        "text",
        Variable("LOG_FORMAT", "`text` for people, `json` for machines.", choice(text="text", json="json")),
    )
    metrics_enabled: bool = _setting(
        True,
        Variable("ENABLE_METRICS", "Whether `/metrics` is served: `true` or `false`.", switch),
    )
    metrics_token: str | None = _setting(
        None,
        Variable("METRICS_TOKEN", "Bearer token that `/metrics` asks for.", api_key, secret=True),
        show=False,
    )
    metrics_port: int | None = _setting(
        None,
        Variable(
            "METRICS_PORT",
            "Serves `/metrics`, and nothing else, on this port of the same address.",
            whole_number(0, 65_535),
        ),
    )
    rate_limit_requests: int = _setting(
        0,
        Variable(
            "RATE_LIMIT_REQUESTS",
            "Requests that each key and address may make in a window; 0 is no limit.",
            whole_number(0, 1_000_000_000),
        ),
    )
    rate_limit_window_s: int = _setting(
        60, Variable("RATE_LIMIT_WINDOW_SEC", "Length of that window, in seconds.", whole_number(1, 86_400))
    )
    rate_limit_storage_uri: str | None = _setting(
        None,
        Variable(
            "RATE_LIMIT_STORAGE_URI",
            "A Redis that all processes count requests in: `redis://host:6379/0`.",
            redis_uri,
            secret=True,
        ),
        show=False,
    )
    retention_days: int = _setting(
        90,
        Variable(
            "RETENTION_DAYS",
            "Days to keep sessions, their timelines and rejected payloads; 0 is for ever.",
            whole_number(0, 36_500),
        ),
    )
    migrate: Literal["auto", "check"] = _setting(
        "auto",
        Variable(
            "M3W_MIGRATE",
            "`auto` brings the schema up to date at start, `check` only verifies that it is.",
            choice(auto="auto", check="check"),
        ),
    )
    grafana_db_password: str | None = _setting(
        None,
        Variable(
            "GRAFANA_DB_PASSWORD",
            "Makes the role `m3w_grafana`, which can only read, with this password whenever migrations run.",
            password,
            secret=True,
        ),
        show=False,
    )
    max_body_bytes: int = _setting(
        1_048_576,
        Variable(
            "M3W_MAX_BODY_BYTES",
            "The largest summary taken, in bytes, after decompression too.",
            whole_number(1024, 1_073_741_824),
        ),
    )
    max_connections: int = _setting(
        10_000,
        Variable(
            "M3W_MAX_CONNECTIONS",
            "Connections that one worker serves at a time; half as many as it may open files, if that is less.",
            whole_number(1, 1_000_000),
        ),
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (),
        Variable(
            "TRUSTED_PROXIES",
            "Addresses or networks of reverse proxies whose `X-Forwarded-For` is believed.",
            networks,
        ),
    )
    ignored: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """
        Read the settings.

        Args:
            environ: Usually `os.environ`.

        Raises:
            SettingsError: If variables have values that cannot work; all of them are listed, one a line.
        """
        values: dict[str, object] = {
            "ignored": tuple(name for name in IGNORED_VARIABLES if environ.get(name)),
        }
        problems: list[str] = []
        for attribute in fields(cls):
            variables: tuple[Variable, ...] = attribute.metadata.get(_VARIABLES, ())
            before = len(problems)
            given = [read(variable, environ, problems) for variable in variables]
            if len(problems) > before or all(value is None for value in given):
                continue
            try:
                values[attribute.name] = attribute.metadata[_COMBINE](*given)
            except SettingsError as exc:
                problems.append(f"{variables[0].name}: {exc}")
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(**values)  # type: ignore[arg-type]


def describe() -> list[SettingDescription]:
    """List every variable, in the order of `Settings`."""
    return [
        SettingDescription(variable.name, _default_text(attribute), variable.description, variable.secret)
        for attribute in fields(Settings)
        for variable in attribute.metadata.get(_VARIABLES, ())
    ]


def _default_text(attribute: Attribute[Any]) -> str:
    default = attribute.default
    if default is None or default is NOTHING or not isinstance(default, str | int):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)
