"""
Stored keys and rejected payloads under ``m3w serve``: several workers, one table.
"""

from __future__ import annotations

import json
import time
from contextlib import closing

from m3w_core.rejected_store import find_rejected, read_payload
from tests._client import JSON
from tests._databases import connect
from tests._serve import Backend, m3w, on, until
from tests.factories import a_payload

#: So many connections of their own: the kernel hands them out, so both workers get some.
REQUESTS = 16


def status(backend, key, payload):
    with closing(backend.connect()) as connection:
        connection.request("POST", "/v1/sessions", json.dumps(payload), {**JSON, "X-API-Key": key})
        return connection.getresponse().status


def all_answer(expected, backend, key, payload):
    """Post a payload over connections of their own, up to the first that is answered otherwise."""
    if all(status(backend, key, payload) == expected for _ in range(REQUESTS)):
        return True
    time.sleep(0.2)  # too many wrong keys in a minute would be answered 429
    return False


def test_a_key_begins_and_ends_in_all_workers_without_a_restart(migrated_database):
    """
    Within seconds; and what was rejected by then is in the table when the backend has ended.
    """
    variables = {**on(migrated_database), "M3W_API_KEY": "configured"}
    with Backend(("--workers", 2), variables) as backend:
        backend.until_ready()
        key = m3w("keys", "add", "phone", **variables).stdout.strip()
        until(lambda: all_answer(200, backend, key, a_payload()), "the key to be valid in all workers")
        bad = all_answer(400, backend, key, a_payload(rebufferRatio=2))
        m3w("keys", "revoke", "phone", **variables)
        until(lambda: all_answer(401, backend, key, a_payload()), "the key to be valid nowhere")
        other = all_answer(200, backend, "configured", a_payload())
        ended = backend.stop()
        said = backend.out + backend.err
    with closing(connect(migrated_database)) as connection:
        found = find_rejected(connection)
        kept = {read_payload(connection, row.id) for row in found}

    assert bad
    assert other
    assert ended == 0
    assert [row.received_via for row in found] == ["phone"] * REQUESTS
    assert kept == {json.dumps(a_payload(rebufferRatio=2)).encode()}
    assert key not in said
