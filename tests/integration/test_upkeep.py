"""
The thread beside the requests: outages it outlives, and what it says of them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing
from functools import partial

import pytest
from prometheus_client.parser import text_string_to_metric_families

from m3w_core import ApiKeys, Settings
from m3w_core.keys import add_key, revoke_key
from m3w_core.rejected import OVERHEAD_BYTES, RejectedQueue
from m3w_core.rejected_store import find_rejected, prune_rejected
from m3w_http import upkeep as upkeep_module
from m3w_http.app import app_for
from m3w_http.metrics import Metrics
from m3w_http.upkeep import Upkeep
from tests._client import JSON, KEY, Client, error_of
from tests._databases import connect
from tests._serve import PATIENCE_S
from tests.factories import a_payload
from tests.unit.test_rejected import a_rejected


@pytest.fixture
def admin(emptied_database):
    with closing(connect(emptied_database)) as connection:
        yield connection


@pytest.fixture(autouse=True)
def _more_often(monkeypatch):
    monkeypatch.setattr(upkeep_module, "EVERY_S", 0.02)


class Worker:
    """What a worker's upkeep has to do with."""

    def __init__(self, database):
        self.queue, self.metrics, self.keys = (
            RejectedQueue(),
            Metrics(),
            ApiKeys.from_settings(Settings(), None),
        )
        self.upkeep = Upkeep(Settings(), database, self.queue, self.use_keys, self.metrics)

    def use_keys(self, keys):
        self.keys = keys

    def counted(self, name):
        return {
            sample.labels.get("cause"): sample.value
            for family in text_string_to_metric_families(self.metrics.render().decode())
            for sample in family.samples
            if sample.name == name
        }


@asynccontextmanager
async def running(database):
    worker = Worker(database)
    await worker.upkeep.start()
    try:
        yield worker
    finally:
        await worker.upkeep.stop()


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


def test_keys_are_known_when_it_has_started_and_follow_the_table(emptied_database, admin):
    """
    A key that is added becomes valid, one that is revoked ends, without a restart.
    """
    first = add_key(admin, "first")

    async def scenario():
        async with running(emptied_database) as worker:
            at_once = worker.keys.identify(first)
            second = add_key(admin, "second")
            await until(lambda: worker.keys.identify(second) == "second")
            revoke_key(admin, "first")
            await until(lambda: worker.keys.identify(first) is None)
            return at_once

    assert asyncio.run(scenario()) == "first"


def test_an_outage_ends_no_key_and_loses_no_payload(emptied_database, admin, caplog):
    """
    Keys go on as they were; payloads wait, are written when the database is back, and the log says both once.
    """
    key = add_key(admin, "phone")

    async def scenario():
        async with running(emptied_database) as worker:
            admin.run("ALTER TABLE api_keys RENAME TO away; ALTER TABLE rejected_payloads RENAME TO gone")
            try:
                await until(lambda: "cannot be read" in caplog.text)
                worker.queue.add(a_rejected(b"in the outage"))
                name = worker.keys.identify(key)
            finally:
                admin.run("ALTER TABLE away RENAME TO api_keys; ALTER TABLE gone RENAME TO rejected_payloads")
            await until(lambda: find_rejected(admin))
            await until(lambda: "looked after again" in caplog.text)
            return name, worker.counted("m3w_rejected_payloads_kept_total")

    name, kept = asyncio.run(scenario())

    assert name == "phone"
    assert kept == {None: 1}
    assert caplog.text.count("cannot be read") == 1


def test_one_task_goes_on_where_the_other_is_refused(emptied_database, admin):
    """
    A role that may not read keys still writes what was rejected.
    """
    admin.run("ALTER TABLE api_keys RENAME TO away")

    async def scenario():
        async with running(emptied_database) as worker:
            worker.queue.add(a_rejected(b"kept"))
            await until(lambda: find_rejected(admin))
            return worker.keys.is_complete

    try:
        assert asyncio.run(scenario()) is False
    finally:
        admin.run("ALTER TABLE away RENAME TO api_keys")


def test_what_the_database_refuses_is_counted_and_stops_nothing(emptied_database, admin, caplog):
    """
    The next ones are written.
    """
    admin.run("ALTER TABLE rejected_payloads ADD CONSTRAINT c CHECK (message <> 'refuse me')")

    async def scenario():
        async with running(emptied_database) as worker:
            worker.queue.add(a_rejected(b"secret", message="refuse me", received_via="secret"))
            await until(lambda: worker.counted("m3w_rejected_payloads_dropped_total").get("refused"))
            worker.queue.add(a_rejected(message="take me"))
            await until(lambda: find_rejected(admin))
        return worker.counted("m3w_rejected_payloads_dropped_total")

    try:
        dropped = asyncio.run(scenario())
    finally:
        admin.run("ALTER TABLE rejected_payloads DROP CONSTRAINT c")

    assert dropped["refused"] == 1
    assert "they are lost: new row for relation" in caplog.text
    assert "secret" not in caplog.text


def test_the_table_stays_within_its_bound(emptied_database, admin, monkeypatch):
    """
    However much comes; what had to make room is counted.
    """
    bound = 20 * OVERHEAD_BYTES
    monkeypatch.setattr(upkeep_module, "prune_rejected", partial(prune_rejected, max_bytes=bound))
    monkeypatch.setattr(upkeep_module, "_PRUNED_EVERY_BYTES", 4 * OVERHEAD_BYTES)
    monkeypatch.setattr(upkeep_module, "_WRITTEN_AT_ONCE_BYTES", 4 * OVERHEAD_BYTES)

    async def scenario():
        async with running(emptied_database) as worker:
            for _ in range(100):
                worker.queue.add(a_rejected(b""))
            await until(lambda: worker.counted("m3w_rejected_payloads_kept_total")[None] == 100)
            return worker.counted("m3w_rejected_payloads_dropped_total")["displaced"]

    displaced = asyncio.run(scenario())
    [[left]] = admin.run("SELECT count(*) FROM rejected_payloads")

    assert left == 100 - displaced
    assert 10 <= left <= 20 + 2 * 4


def test_what_is_too_much_is_counted(emptied_database):
    """
    By what bounded it.
    """

    async def scenario():
        worker = Worker(emptied_database)
        worker.queue.max_bytes = worker.queue._allowance = 2000
        for _ in range(3):
            worker.queue.add(a_rejected())
        await worker.upkeep.start()
        await worker.upkeep.stop()
        return worker.counted("m3w_rejected_payloads_dropped_total")

    assert asyncio.run(scenario())["rate"] == 2


def test_before_the_stored_keys_are_known_an_unknown_key_gets_503(nowhere):
    """
    It may be right, and a 401 would have the SDK delete the session. No key at all is 401 as ever.
    """
    with Client(app_for(Settings(api_keys={"default": "dev-key"}), nowhere)) as client:
        unknown = client.post(a_payload(), headers={**JSON, "X-API-Key": "m3w_stored?"})
        none = client.post(a_payload(), headers=JSON)
        known = client.post(b"{", headers={**JSON, **KEY})

    assert error_of(unknown, 503) == {"code": "DATABASE_ERROR", "message": "Temporary storage issue"}
    assert int(unknown.headers["retry-after"]) > 0
    assert error_of(none, 401)["code"] == "INVALID_API_KEY"
    assert error_of(known, 400)["code"] == "INVALID_SCHEMA"
