"""
The role that Grafana reads with: it may log in and SELECT, and nothing else.

A role belongs to the whole server, its privileges to one database. So two processes can meet here even where
their databases differ, and the lock on migrations keeps apart only those of one database.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from base64 import b64encode
from typing import Final

from pg8000.exceptions import DatabaseError
from pg8000.native import Connection, identifier, literal
from scramp import ScramException
from scramp.core import saslprep  # in 1.4.5 too

from m3w_core._errors import DRIVER_ERRORS, translate, translating
from m3w_core.migrations import LOCK_KEY

_log = logging.getLogger(__name__)

#: Grafana's data source names it too.
GRAFANA_ROLE: Final = "m3w_grafana"

# As PostgreSQL itself does it.
_SCRAM_ITERATIONS, _SALT_BYTES = 4096, 16

_INSUFFICIENT_PRIVILEGE = "42501"
# A process that works on another database made or altered the role at the same moment: duplicate object,
# unique violation, "tuple concurrently updated".
_RACES = ("42710", "23505", "XX000")
_ATTEMPTS = 10

# Several statements sent as one are one transaction, which the lock belongs to. Compiling a dashboard's query takes
# longer than running it.
_MAKE_ROLE = """
SELECT pg_advisory_xact_lock({lock});
DO $body$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
        CREATE ROLE {role};
    END IF;
END $body$;
ALTER ROLE {role} LOGIN PASSWORD {verifier};
ALTER ROLE {role} SET default_transaction_read_only = on;
ALTER ROLE {role} SET jit = off;
"""

# Keys' digests, and what clients have sent: dashboards need neither. The view rejections is there to be counted.
PRIVATE_TABLES: Final = ("api_keys", "rejected_payloads")

# Every table that is made can be read by the role at first, see the end of _GRANT.
_HIDE = """
SELECT pg_advisory_xact_lock({lock});
DO $body$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN
        SELECT oid FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relname IN ({private})
            AND has_any_column_privilege({name}, oid, 'SELECT') AND pg_has_role(relowner, 'USAGE')
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM {role}', relation);
    END LOOP;
END $body$;
"""

# Only what is missing is granted, and only on what is ours to grant: a schema may hold tables of others.
_GRANT = """
SELECT pg_advisory_xact_lock({lock});
DO $body$
DECLARE
    schema name := current_schema();
    relation regclass;
BEGIN
    IF NOT has_database_privilege({name}, current_database(), 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO {role}', current_database());
    END IF;
    IF NOT has_schema_privilege({name}, schema, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', schema);
    END IF;
    FOR relation IN
        SELECT oid FROM pg_class
        WHERE relnamespace = to_regnamespace(quote_ident(schema))
            AND relkind IN ('r', 'p', 'v', 'm')
            AND relname NOT IN ({private})
            AND pg_has_role(relowner, 'USAGE')
            AND NOT has_table_privilege({name}, oid, 'SELECT')
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO {role}', relation);
    END LOOP;
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO {role}', schema);
END $body$;
"""


def hide_private_tables(connection: Connection, *, role: str = GRAFANA_ROLE) -> None:
    """
    Take from a role what it may not read, if there is such a role: it could since the migration that made the tables.

    Args:
        connection: To a migrated database, as the user that owns the tables, in no transaction.
        role: Its name.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    with translating():
        if connection.run("SELECT FROM pg_roles WHERE rolname = :role", role=role):
            _run(connection, _HIDE.format(**_words(role)), f"{role} may be able to read API keys' digests")


def _words(role: str) -> dict[str, object]:
    return {
        "lock": LOCK_KEY,
        "role": identifier(role),
        "name": literal(role),
        "private": ", ".join(map(literal, PRIVATE_TABLES)),
    }


def ensure_grafana_role(connection: Connection, password: str, *, role: str = GRAFANA_ROLE) -> None:
    """
    Let a role log in with a password and read all that migrations have made, and will make, but `PRIVATE_TABLES`.

    Where the user of the connection may not make roles, a warning is logged that says what to do: without
    Grafana the backend still takes sessions.

    Args:
        connection: To a migrated database, as the user that owns the tables, in no transaction.
        password: Of the role. It is hashed here, so that no log of the server can show it.
        role: Its name.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    words = _words(role)
    hide_private_tables(connection, role=role)
    try:
        _make_role(connection, _MAKE_ROLE.format(verifier=literal(_scram_verifier(password)), **words), role)
        if connection.run("SELECT FROM pg_roles WHERE rolname = :role", role=role):
            _run(connection, _GRANT.format(**words), f"It could not be granted to {role} to read everything")
    except DRIVER_ERRORS as exc:
        raise translate(exc) from exc


def _make_role(connection: Connection, statements: str, role: str) -> None:
    refused = (
        f"GRAFANA_DB_PASSWORD is set, but the role {role} could not be made or altered, so Grafana may not be"
        f" able to read. Let an administrator of the server run: CREATE ROLE {role} LOGIN PASSWORD '…'"
        " and then start again"
    )
    for _ in range(_ATTEMPTS - 1):
        try:
            return _run(connection, statements, refused)
        except DatabaseError as exc:
            if exc.args[0]["C"] not in _RACES:
                raise
    return _run(connection, statements, refused)


def _run(connection: Connection, statements: str, refused: str) -> None:
    try:
        connection.run(statements)
    except DatabaseError as exc:
        if exc.args[0]["C"] != _INSUFFICIENT_PRIVILEGE:
            raise
        _log.warning("%s. The server says: %s", refused, exc.args[0]["M"])


def _scram_verifier(password: str) -> str:
    """Compute what PostgreSQL stores of a password (RFC 5803)."""
    try:
        prepared = saslprep(password)
    except ScramException:
        # PostgreSQL takes such a password, one with an emoji for instance, as it is.
        prepared = password
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", prepared.encode(), salt, _SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = (b64encode(part).decode() for part in (salt, stored_key, server_key))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_SCRAM_ITERATIONS, *encoded)
