"""
The files of the migrations: their names, their checksums, and the rules their SQL keeps.

The rules are those for growing past one machine: a table that breaks one cannot be distributed by session ID.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from m3w_core._migration_files import shipped_directory
from m3w_core._migration_history import AppliedMigration, pending_after
from m3w_core.exceptions import MigrationError
from m3w_core.migrations import Migration, available

SHIPPED = {file.name: file.read_text(encoding="utf-8") for file in shipped_directory().iterdir()}

SESSION_TABLES = {"sessions", "session_timeline"}

SERIAL = {exp.DataType.Type.SMALLSERIAL, exp.DataType.Type.SERIAL, exp.DataType.Type.BIGSERIAL}


def write(directory: Path, **files: str) -> Path:
    for stem, text in files.items():
        (directory / f"{stem}.sql").write_text(text, encoding="utf-8", newline="")
    return directory


def test_migrations_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """
    Numbers count as numbers: V10 comes after V9.
    """
    write(tmp_path, **{f"V{number}__step": "" for number in (10, 2, 1, 3, 4, 5, 6, 7, 8, 9)})

    assert [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] == [migration.version for migration in available(tmp_path)]


def test_other_files_beside_the_migrations_are_left_alone(tmp_path: Path) -> None:
    """
    Only names that begin with V are migrations.
    """
    write(tmp_path, V1__one="SELECT 1", adopt_kotlin_copy="SELECT 2")
    (tmp_path / "README.md").write_text("", encoding="utf-8")

    assert [Migration(1, "one", "SELECT 1")] == available(tmp_path)


@pytest.mark.parametrize(
    "name", ["V2_one_underscore", "V02__zero", "V2__UPPER", "V2__", "V__none", "V2.1__dot"]
)
def test_a_misnamed_migration_is_not_passed_over_in_silence(tmp_path: Path, name: str) -> None:
    """
    A file that looks like a migration and is not named like one is an error, which names it.
    """
    write(tmp_path, V1__one="", **{name: ""})

    with pytest.raises(MigrationError, match=f"{name}.sql is not named like"):
        available(tmp_path)


def test_two_migrations_with_one_number_are_refused(tmp_path: Path) -> None:
    """
    The number is the identity.
    """
    write(tmp_path, V1__one="", V1__uno="")

    with pytest.raises(MigrationError, match="have the same number: rename one"):
        available(tmp_path)


def test_a_missing_number_is_refused(tmp_path: Path) -> None:
    """
    Numbers go from 1 without a gap.
    """
    write(tmp_path, V1__one="", V3__three="")

    with pytest.raises(MigrationError, match="no migration V2, but V3: a file is missing"):
        available(tmp_path)


def test_an_installation_without_migrations_is_refused(tmp_path: Path) -> None:
    """
    Nothing to apply is never the state of a whole installation.
    """
    with pytest.raises(MigrationError, match="install this release again"):
        available(tmp_path)


def test_the_checksum_is_that_of_the_text_and_not_of_its_line_ends(tmp_path: Path) -> None:
    """
    SHA-256 of the file with LF between lines, so that a checkout with CRLF is no change.
    """
    with_lf, with_crlf = tmp_path / "lf", tmp_path / "crlf"
    with_lf.mkdir()
    with_crlf.mkdir()
    [unix] = available(write(with_lf, V1__one="SELECT 1;\nSELECT 2;\n"))
    [windows] = available(write(with_crlf, V1__one="SELECT 1;\r\nSELECT 2;\r\n"))

    assert "82efb67f3010c6eb7ead02e4f6d9550633dbc1407f99aa487468e7b2567aebbc" == unix.checksum
    assert unix == windows


def test_a_shipped_migration_is_never_edited() -> None:
    """
    An edited file would stop every database that has it. A change is a new file, with a new line here.
    """
    shipped = {migration.file_name: migration.checksum for migration in available()}

    assert {
        "V1__create_sessions.sql": "6840584348981414ceda7baf92987d8cbbd2295e4b7332f75413a1c611148441",
        "V2__add_keys_and_rejected_payloads.sql": "b23472caefb57fec8453c06681bbe1301cf0765310f2eb5d8c50a5fddf0694e3",
        "V3__session_qoe.sql": "47743194b34a66c72e6ea5c977fa45bb2be6b03edc52f4dd4a2c43e3f6a327d5",
        "V4__qoe_hourly.sql": "dc57d34abcb97c7056342127ae157f054bd7ef193dea741cb716a45ad6c3f05a",
    } == shipped


def recorded(version: int, sql: str = "") -> AppliedMigration:
    checksum = Migration(version, "step", sql).checksum
    return AppliedMigration(version, "step", checksum, datetime(2026, 3, 1, tzinfo=UTC))


STEPS = [Migration(1, "step", ""), Migration(2, "step", ""), Migration(3, "step", "")]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_what_is_not_recorded_is_pending(count: int) -> None:
    """
    A database is at some point of the list, and the rest is pending.
    """
    history = [recorded(version) for version in range(1, count + 1)]

    assert STEPS[count:] == pending_after(history, STEPS)


def test_a_changed_file_is_refused_by_name() -> None:
    """
    The message names the file, when it was applied, and what to do.
    """
    with pytest.raises(MigrationError) as caught:
        pending_after([recorded(1), recorded(2, "as it was")], STEPS)

    assert (
        "V2__step.sql is not the file that was applied to this database on 2026-03-01: it was changed since. "
        "Put the original back (install the release again), and make the change in a new migration."
    ) == str(caught.value)


def test_a_renamed_file_is_the_same_migration() -> None:
    """
    The words are for people.
    """
    assert [] == pending_after([recorded(1)], [Migration(1, "other_words", "")])


def test_a_database_of_a_newer_release_is_refused() -> None:
    """
    An old release does not write to a schema it does not know.
    """
    with pytest.raises(MigrationError) as caught:
        pending_after([recorded(version) for version in (1, 2, 3, 4)], STEPS)

    assert (
        "A newer release has migrated this database to V4__step, and this one ends at V3__step.sql. Start "
        "that release or a later one."
    ) == str(caught.value)


def test_a_migration_that_was_passed_over_is_refused() -> None:
    """
    Order is part of what was tested: nothing is applied behind what is there.
    """
    with pytest.raises(MigrationError, match=r"V2__step\.sql was not applied to this database before V3 was"):
        pending_after([recorded(1), recorded(3)], STEPS)


def broken_rules(sql: str) -> list[str]:
    """Name what in these statements a distributed database, or the runner of migrations, could not take."""
    return [
        problem for statement in sqlglot.parse(sql, dialect="postgres") for problem in problems(statement)
    ]


def problems(statement: exp.Expression) -> Iterator[str]:
    if isinstance(statement, exp.Command):
        # What the parser does not know it keeps as text.
        if not statement.sql(dialect="postgres", comments=False).startswith("CREATE FUNCTION"):
            yield "unknown statement"
        return
    if isinstance(statement, (exp.Transaction, exp.Commit, exp.Rollback)):
        yield "ends the transaction"
    for parameters in statement.find_all(exp.IndexParameters):
        using = parameters.args.get("using")
        columns = list(parameters.find_all(exp.Ordered))
        if (using is None or using.name != "brin") and any(c.args.get("desc") is None for c in columns):
            yield "index without an order"
    if not SESSION_TABLES.isdisjoint(table.name for table in statement.find_all(exp.Table)):
        yield from problems_of_session_tables(statement)


def problems_of_session_tables(statement: exp.Expression) -> Iterator[str]:
    if isinstance(statement, exp.Create) and statement.args["kind"] == "TRIGGER":
        yield "trigger"
    if isinstance(statement, exp.Create) and statement.args["unique"]:
        yield "unique index"
    if statement.find(exp.PartitionedByProperty):
        yield "partitioned"
    if statement.find(exp.Reference, exp.ForeignKey):
        yield "foreign key"
    types = {kind.this for kind in statement.find_all(exp.DataType)}
    if types & SERIAL or statement.find(exp.GeneratedAsIdentityColumnConstraint):
        yield "numbered column"
    if any(first != "session_id" for first in first_columns_of_keys(statement)):
        yield "key without session_id in front"


def first_columns_of_keys(statement: exp.Expression) -> Iterator[str]:
    for key in statement.find_all(exp.PrimaryKeyColumnConstraint, exp.PrimaryKey, exp.UniqueColumnConstraint):
        columns = [name.name for name in key.find_all(exp.Identifier, bfs=False)]
        yield columns[0] if columns else key.find_ancestor(exp.ColumnDef).name


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("CREATE TABLE sessions (id bigserial, session_id text PRIMARY KEY)", "numbered column"),
        ("CREATE TABLE sessions (id bigint GENERATED ALWAYS AS IDENTITY)", "numbered column"),
        ("ALTER TABLE sessions ADD COLUMN id serial", "numbered column"),
        ("CREATE TABLE sessions (id bigint PRIMARY KEY)", "key without session_id in front"),
        ("CREATE TABLE sessions (device text UNIQUE)", "key without session_id in front"),
        ("CREATE TABLE session_timeline (a text, b text, UNIQUE (a, b))", "key without session_id in front"),
        ("ALTER TABLE sessions ADD CONSTRAINT u UNIQUE (a)", "key without session_id in front"),
        (
            "CREATE TABLE session_timeline (t bigint, session_id text, PRIMARY KEY (t, session_id))",
            "key without session_id in front",
        ),
        ("CREATE UNIQUE INDEX u ON sessions (session_id ASC)", "unique index"),
        ("CREATE TABLE session_timeline (session_id text REFERENCES sessions)", "foreign key"),
        ("ALTER TABLE session_timeline ADD FOREIGN KEY (session_id) REFERENCES sessions", "foreign key"),
        ("CREATE TABLE sessions (t bigint) PARTITION BY RANGE (t)", "partitioned"),
        ("CREATE INDEX i ON m3w_anything (a ASC, b)", "index without an order"),
        ("CREATE INDEX i ON sessions USING gin (extra)", "index without an order"),
        ("SELECT 1; COMMIT; SELECT 2", "ends the transaction"),
        ("BEGIN", "ends the transaction"),
        ("ROLLBACK", "ends the transaction"),
        ("VACUUM sessions", "unknown statement"),
    ],
)
def test_a_broken_rule_is_found(sql: str, problem: str) -> None:
    """
    The test of what is shipped sees what it should see.
    """
    assert [problem] == broken_rules(sql)


def test_a_trigger_is_found() -> None:
    """
    By whichever way: older parsers do not know the statement.
    """
    trigger = "CREATE TRIGGER t BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION f()"

    assert broken_rules(trigger) in (["trigger"], ["unknown statement"])


@pytest.mark.parametrize("migration", available(), ids=lambda migration: migration.file_name)
def test_migrations_keep_the_rules_for_growing(migration: Migration) -> None:
    """
    Session tables: session_id first in every key, no numbered columns, triggers, foreign keys or partitions.
    Every index is BRIN or says its order. The transaction is left to the runner.
    """
    assert [] == broken_rules(migration.sql)


def test_the_shipped_migrations_make_the_session_tables() -> None:
    """
    The rules are tested on something.
    """
    tables = {
        statement.find(exp.Table).name
        for migration in available()
        for statement in sqlglot.parse(migration.sql, dialect="postgres")
        if isinstance(statement, exp.Create) and statement.args["kind"] == "TABLE"
    }

    assert tables >= SESSION_TABLES


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_sql_is_ascii(name: str) -> None:
    """
    A database of any encoding can run it.
    """
    assert SHIPPED[name].isascii()
