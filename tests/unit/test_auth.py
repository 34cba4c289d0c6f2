"""
Who a key belongs to. How long that takes to find out is left to the comparison of digests, not measured here.
"""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3w_core import auth
from m3w_core.auth import ApiKeys
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


@pytest.mark.parametrize("given", ["first", "second", "third", "none of them"])
def test_every_key_is_compared_each_time(monkeypatch, given):
    """
    The time taken must not tell which key matched, nor how long a key is: digests are compared, all of them.
    """
    keys = ApiKeys.from_keys({"a": "first", "b": "second", "c": "third"})
    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(auth, "compare_digest", compare)
    keys.identify(given)

    assert compared == [(32, 32), (32, 32), (32, 32)]


def test_no_key_is_in_the_repr():
    """
    Neither a key nor its digest may reach a log.
    """
    keys = ApiKeys.from_keys({"a": "s3cret"})

    assert repr(keys) == "ApiKeys(is_development=False)"
