"""
Who a key belongs to. How long that takes to find out is left to the look-up of digests, not measured here.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3w_core import auth
from m3w_core.auth import ApiKeys, StoredKey
from m3w_core.settings import Settings


def test_a_key_is_known_by_its_name():
    """
    What is logged or counted is the name, never the key.
    """
    keys = ApiKeys.from_settings(Settings(api_keys={"default": "old", "phone": "new"}))

    assert keys.identify("old") == "default"
    assert keys.identify("new") == "phone"
    assert not keys.is_development


@pytest.mark.parametrize(
    "given", [None, "", "ol", "old ", " old", "OLD", "phone", "dev-key", "öld", "\udcff", "\0"]
)
def test_anything_else_is_nobody(given):
    """
    A missing or a wrong key is no error here, whatever characters it has.
    """
    keys = ApiKeys.from_keys({"default": "old", "phone": "new"})

    assert keys.identify(given) is None


@given(st.text(st.characters()))
def test_no_text_makes_the_check_fail(given):
    """
    A header holds what a stranger put there.
    """
    assert ApiKeys.from_keys({"default": "a key that the strategy does not find"}).identify(given) is None


def test_without_any_configured_key_the_development_key_is_the_only_one():
    """
    The first start needs no configuration, and says so.
    """
    keys = ApiKeys.from_settings(Settings.from_env({}))

    assert keys.identify("dev-key") == "dev"
    assert keys.identify("") is None
    assert keys.is_development


def test_the_development_key_is_told_apart_where_it_is_configured_too():
    """
    An .env that was copied and never changed deserves the same warning.
    """
    assert ApiKeys.from_settings(Settings.from_env({"M3W_API_KEY": "dev-key"})).is_development
    assert not ApiKeys.from_settings(Settings.from_env({"M3W_API_KEY": "another"})).is_development


def test_the_development_key_is_not_valid_beside_a_configured_one():
    """
    Everybody knows it.
    """
    keys = ApiKeys.from_settings(Settings.from_env({"M3W_API_KEYS": "phone=p"}))

    assert keys.identify("dev-key") is None


def test_a_key_with_two_names_is_known_by_the_first():
    """
    The answer does not depend on chance.
    """
    assert ApiKeys.from_keys({"a": "same", "b": "same"}).identify("same") == "a"


@pytest.mark.parametrize("given", ["first", "fi", "f", "second", "none of them", "x" * 10_000])
def test_what_is_looked_up_is_a_digest(given):
    """
    The time taken must not tell which key matched, how long a key is, nor how much of it was right: nothing but a
    SHA-256 is compared, whichever key is given.
    """
    looked_up = []

    class Names(dict):
        def get(self, key):
            looked_up.append(key)
            return super().get(key)

    keys = ApiKeys({"sessions": Names(ApiKeys.from_keys({"a": "first", "b": "second"}).names["sessions"])})
    keys.identify(given)

    assert looked_up == [hashlib.sha256(given.encode()).digest()]


def a_stored_key(key="from the table", **changes):
    return StoredKey(
        **{
            "name": "phone",
            "prefix": "m3w_abcdef",
            "sha256": auth.digest(key),
            "routes": ["sessions", "batch"],
            "created_at": datetime(2026, 3, 1, tzinfo=UTC),
            **changes,
        }
    )


def test_stored_keys_are_valid_beside_those_of_the_environment():
    """
    Both kinds, until one is revoked.
    """
    settings = Settings(api_keys={"default": "configured"})
    revoked = a_stored_key("old", name="tv", revoked_at=datetime(2026, 3, 2, tzinfo=UTC))
    keys = ApiKeys.from_settings(settings, [a_stored_key(), revoked])

    assert keys.identify("configured") == "default"
    assert keys.identify("from the table") == "phone"
    assert keys.identify("old") is None


def test_a_key_is_valid_for_its_routes_only():
    """
    One for batches cannot be used by an app that was meant to have another; those of the environment can all.
    """
    keys = ApiKeys.from_settings(Settings(api_keys={"default": "all"}), [a_stored_key(routes=["batch"])])

    assert keys.identify("from the table", "batch") == "phone"
    assert keys.identify("from the table", "sessions") is None
    assert keys.identify("all", "batch") == keys.identify("all", "sessions") == "default"


def test_the_development_key_ends_with_the_first_stored_key():
    """
    And does not come back when that is revoked: nobody who revokes a key wants to open the door.
    """
    revoked = a_stored_key(revoked_at=datetime(2026, 3, 2, tzinfo=UTC))

    assert ApiKeys.from_settings(Settings(), []).identify("dev-key") == "dev"
    assert ApiKeys.from_settings(Settings(), [a_stored_key()]).identify("dev-key") is None
    assert ApiKeys.from_settings(Settings(), [revoked]).identify("dev-key") is None


def test_while_the_stored_keys_are_not_known_nobody_is_known_to_be_wrong():
    """
    The keys of the environment are valid all the same; the development key is not, as there may be others.
    """
    keys = ApiKeys.from_settings(Settings(api_keys={"default": "configured"}), None)

    assert not keys.is_complete
    assert keys.identify("configured") == "default"
    assert ApiKeys.from_settings(Settings(), None).identify("dev-key") is None
    assert ApiKeys.from_settings(Settings(), []).is_complete


def test_no_key_is_in_the_repr():
    """
    Neither a key nor its digest may reach a log.
    """
    keys = ApiKeys.from_keys({"a": "s3cret"})

    assert repr(keys) == "ApiKeys(is_development=False, is_complete=True)"
    assert "sha256" not in repr(a_stored_key())
