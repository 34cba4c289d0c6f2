"""
How often a client may come, and what it hears when it comes too often.
"""

from __future__ import annotations

import json

import pytest

from m3w_core import Settings
from m3w_http.app import app_for
from m3w_http.rate_limits import WRONG_KEYS_PER_MINUTE
from tests._client import HEADERS, JSON, Client, error_of
from tests.factories import a_payload

WRONG = {**JSON, "X-API-Key": "wrong"}


@pytest.fixture
def client(emptied_database):
    with Client(app_for(Settings(), emptied_database)) as client:
        yield client


def test_no_limit_is_set_by_default(client):
    """
    One address may be a whole mobile network.
    """
    statuses = {client.post(b"[]").status_code for _ in range(1000)}

    assert statuses == {400}


def test_requests_over_the_limit_are_429(emptied_database):
    """
    So many in a window, good or bad; ``Retry-After`` names the seconds to its end.
    """
    settings = Settings(rate_limit_requests=2, rate_limit_window_s=3600)
    with Client(app_for(settings, emptied_database)) as client:
        allowed = [client.post(a_payload()).status_code, client.post(b"[]").status_code]
        refused = client.post(a_payload())

    assert allowed == [200, 400]
    assert error_of(refused, 429) == {"code": "RATE_LIMIT_EXCEEDED", "message": "Too many requests"}
    assert 3500 < int(refused.headers["retry-after"]) <= 3600


def test_the_limit_is_for_each_key_at_each_address(emptied_database):
    """
    A key is a whole fleet, and behind an address may be many apps.
    """
    settings = Settings(rate_limit_requests=1, api_keys={"a": "key-a", "b": "key-b"})
    with Client(app_for(settings, emptied_database)) as client:
        statuses = [
            client.post(a_payload(), headers={**JSON, "X-API-Key": key}, remote_addr=address).status_code
            for key in ("key-a", "key-b")
            for address in ("192.0.2.1", "192.0.2.2")
            for _ in range(2)
        ]

    assert statuses == [200, 429] * 4


def test_the_limit_ends_with_its_window(emptied_database):
    """
    Whoever waits as long as ``Retry-After`` says is let in again.
    """
    settings = Settings(rate_limit_requests=1, rate_limit_window_s=1)
    with Client(app_for(settings, emptied_database)) as client:
        assert client.post(a_payload()).status_code == 200
        while (refused := client.post(a_payload())).status_code != 200:
            error_of(refused, 429)

            assert refused.headers["retry-after"] == "1"


def test_a_hundred_wrong_keys_close_the_door_to_their_address(client):
    """
    The right key gets 429 too, as nothing from that address is looked at; other addresses notice nothing.
    """
    guesses = [client.post(a_payload(), headers=WRONG).status_code for _ in range(WRONG_KEYS_PER_MINUTE)]
    guess = client.post(a_payload(), headers=WRONG)
    right = client.post(a_payload())
    elsewhere = client.post(a_payload(), remote_addr="192.0.2.1")

    assert guesses == [401] * 100
    for refused in (guess, right):
        assert error_of(refused, 429) == {
            "code": "RATE_LIMIT_EXCEEDED",
            "message": "Too many requests with a wrong API key",
        }
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert elsewhere.status_code == 200


def test_a_missing_key_counts_as_a_wrong_one(client):
    """
    Else guessing without a key would be free.
    """
    for _ in range(WRONG_KEYS_PER_MINUTE):
        client.post(a_payload(), headers=JSON)

    error_of(client.post(a_payload()), 429)


def test_probes_are_not_limited(emptied_database):
    """
    A monitoring system has no key and comes for ever.
    """
    with Client(app_for(Settings(rate_limit_requests=1), emptied_database)) as client:
        for _ in range(WRONG_KEYS_PER_MINUTE):
            client.post(a_payload(), headers=WRONG)
        statuses = {
            client.get(path, headers=HEADERS).status_code for path in ("/health", "/ready", "/metrics") * 3
        }

    assert statuses == {200}


def test_a_batch_counts_as_many_as_it_holds(emptied_database):
    """
    Good and bad ones; it is let in whole while anything is left, and then nothing is until the window ends.
    """
    with Client(app_for(Settings(rate_limit_requests=5), emptied_database)) as client:

        def batch(count):
            items = [a_payload(sessionId=str(number)) for number in range(count - 1)]
            body = json.dumps([*items, {}])
            return client.request("POST", "/v1/sessions/batch", body=body, headers=HEADERS)

        first, single, second = batch(3), client.post(a_payload()), batch(4)
        refused = [batch(1), client.post(a_payload())]

    assert [first.json["accepted"], single.status_code, second.json["accepted"]] == [2, 200, 3]
    for answer in refused:
        error_of(answer, 429)
