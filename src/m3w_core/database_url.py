"""
Which database, read from a URL as libpq or JDBC writes it.

All of a URL may be secret: with one character of the password left unencoded, the rest of it can end up in
any part. So no error here shows anything of a URL but the names of parameters that are known.
"""

from __future__ import annotations

import re
from typing import Literal, cast, get_args
from urllib.parse import quote, unquote, unquote_plus

from attrs import field, frozen

from m3w_core.exceptions import SettingsError

SslMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

DEFAULT_PORT = 5432

#: In place of a file as ``sslrootcert``: the certificates that the operating system trusts.
SYSTEM_ROOTS = "system"

_URL = re.compile(
    r"(?P<jdbc>jdbc:)?postgres(?:ql)?://(?P<authority>[^/?]*)(?:/(?P<path>[^?]*))?(?:\?(?P<query>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>.*))?", re.DOTALL)

# To leave these out silently would reach another server or schema, or check less than was asked for.
_REFUSED = {
    "channel_binding": "sslmode=verify-full protects against the same",
    "currentSchema": "set it on the role instead: ALTER ROLE ... SET search_path = ...",
    "hostaddr": "give the address as the host",
    "options": "set such parameters on the role instead: ALTER ROLE ... SET ...",
    "require_auth": "sslmode=verify-full protects against the same",
    "service": "give host and database in the URL",
    "sslcert": "client certificates are not supported, use a password",
    "sslcrl": "revocation lists are not supported",
    "sslcrldir": "revocation lists are not supported",
    "sslkey": "client certificates are not supported, use a password",
}
_HARMLESS = {("channel_binding", "disable"), ("channel_binding", "prefer")}


@frozen(kw_only=True)
class DatabaseSettings:
    """
    Where a PostgreSQL database is, and as whom to connect. Printed, it is a URL without the password.

    Args:
        host: Name or address, or None where *unix_socket* is used.
        port: Of the server; of a Unix socket it is part of the file's name.
        unix_socket: Path of the socket file, ``<directory>/.s.PGSQL.<port>``, or None. TLS is not used on it.
        database: Name of the database.
        user: Name of the role.
        password: None where the server asks for none.
        sslmode: As in libpq.
        sslrootcert: Path of a PEM file with the certificates to trust; ``system`` or None are those of the
            operating system, but with ``require`` None means that no certificate is checked.
    """

    host: str | None = None
    port: int = DEFAULT_PORT
    unix_socket: str | None = None
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    sslmode: SslMode = "prefer"
    sslrootcert: str | None = None

    def __str__(self) -> str:
        """Give a URL that is fit for a log."""
        user, database = quote(self.user, safe=""), quote(self.database, safe="")
        if self.unix_socket is not None:
            directory = self.unix_socket.rpartition("/")[0]
            port = "" if self.port == DEFAULT_PORT else f"&port={self.port}"
            return f"postgresql://{user}@/{database}?host={quote(directory)}{port}"
        host = quote(self.host or "", safe=":")
        return f"postgresql://{user}@{f'[{host}]' if ':' in host else host}:{self.port}/{database}"


def parse_database_url(url: str, user: str | None = None, password: str | None = None) -> DatabaseSettings:
    """
    Read a ``postgresql://`` or ``jdbc:postgresql://`` URL.

    Without a host it is ``localhost``, without a port 5432, without a database the one named as the user.

    Args:
        url: As libpq or JDBC takes it, for one server. A host that begins with ``/``, in the parameter
            ``host`` or percent-encoded in its place, is the directory of a Unix socket. Parameters that only
            tune another driver are ignored.
        user: Wins over the one in the URL.
        password: Wins over the one in the URL.

    Raises:
        SettingsError: If it cannot be read, or asks for what is not supported. The message quotes none of it.
    """
    match = _URL.fullmatch(url.strip())
    if match is None:
        raise SettingsError("expected a URL like postgresql://user:password@host:5432/database")
    userinfo, _, address = match["authority"].rpartition("@")
    path = match["path"] or ""
    if "@" in path or "/" in path:
        raise SettingsError(
            "the database's name holds / or @; in names and passwords write / as %2F, @ as %40 and % as %25"
        )
    is_jdbc = match["jdbc"] is not None
    given = _parameters(match["query"] or "", is_jdbc=is_jdbc)
    for name, advice in _REFUSED.items():
        if given.get(name) and (name, given[name]) not in _HARMLESS:
            raise SettingsError(f"the parameter {name} is not supported: {advice}")

    url_user, _, url_password = userinfo.partition(":")
    host, port = _host_and_port(address)
    host = given.get("host") or host or "localhost"
    port = _port(given["port"]) if given.get("port") else port
    the_user = user or given.get("user") or _decoded(url_user, "user")
    if not the_user:
        raise SettingsError("no user is given: put it into the URL or set DATABASE_USER")
    the_password = password or given.get("password") or _decoded(url_password, "password") or None
    database = given.get("dbname") or _decoded(path, "database", plus=is_jdbc) or the_user
    texts = {"user": the_user, "password": the_password or "", "database": database, "host": host}
    for what, text in texts.items():
        _check_text(what, text)
    is_unix = host.startswith("/")
    if not is_unix:
        _check_host(host)
    sslmode, sslrootcert = _tls(given, is_jdbc=is_jdbc)
    return DatabaseSettings(
        host=None if is_unix else host,
        port=port,
        unix_socket=f"{host.rstrip('/')}/.s.PGSQL.{port}" if is_unix else None,
        database=database,
        user=the_user,
        password=the_password,
        sslmode=sslmode,
        sslrootcert=sslrootcert,
    )


def _parameters(query: str, *, is_jdbc: bool) -> dict[str, str]:
    known = {"dbname", "host", "password", "port", "ssl", "sslmode", "sslrootcert", "user", *_REFUSED}
    given = {}
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if part and not equals and not is_jdbc:
            raise SettingsError("a parameter after the ? has no =; in a password write ? as %3F and & as %26")
        if name not in known and "@" in part:
            raise SettingsError("an @ stands after the ?; in a password write ? as %3F and @ as %40")
        if name in known:
            given[name] = _decoded(value, name, plus=is_jdbc)
    return given


def _decoded(text: str, what: str, *, plus: bool = False) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise SettingsError(
            f"the {what} holds a % without two hexadecimal digits after it; write % itself as %25"
        )
    try:
        # Java's decoder takes + for a space, as in a web form; libpq leaves it alone.
        return (unquote_plus if plus else unquote)(text, errors="strict")
    except UnicodeDecodeError:
        raise SettingsError(f"the {what} is not UTF-8 once its percent-encoding is undone") from None


def _check_text(what: str, text: str) -> None:
    if "\0" in text:
        raise SettingsError(f"the {what} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"the {what} is not UTF-8") from None


def _check_several(hosts: str) -> None:
    if "," in hosts:
        raise SettingsError("several hosts are given; give one, or a proxy in front of them")


def _check_host(host: str) -> None:
    _check_several(host)
    try:
        host.encode("idna")  # what looking it up begins with
    except UnicodeError:
        raise SettingsError("the host is not a valid host name") from None


def _host_and_port(address: str) -> tuple[str, int]:
    _check_several(address)
    match = _HOST_PORT.fullmatch(address)
    if match is None or ":" in (match["port"] or ""):
        raise SettingsError(
            "host and port cannot be told apart; write an IPv6 address in brackets, [::1]:5432"
        )
    host = _decoded(match["ipv6"] or match["host"], "host")
    return host, _port(match["port"]) if match["port"] else DEFAULT_PORT


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise SettingsError(
            "the port is not a number from 1 to 65535; in a password write / as %2F and @ as %40"
        )
    return int(text)


def _tls(given: dict[str, str], *, is_jdbc: bool) -> tuple[SslMode, str | None]:
    roots = given.get("sslrootcert") or None
    mode = given.get("sslmode", "").lower()
    if not mode:
        if roots == SYSTEM_ROOTS:
            mode = "verify-full"
        elif "ssl" in given and given["ssl"].lower() in {"", "true"}:
            # The same word, but pgjdbc checks the certificate and libpq does not.
            mode = "verify-full" if is_jdbc else "require"
        else:
            mode = "prefer"
    if mode not in get_args(SslMode):
        raise SettingsError(f"sslmode is none of {', '.join(get_args(SslMode))}")
    if roots == SYSTEM_ROOTS and mode != "verify-full":
        # As libpq: anybody can have a certificate that some public authority signed for some name.
        raise SettingsError("sslrootcert=system needs sslmode=verify-full")
    return cast("SslMode", mode), roots
