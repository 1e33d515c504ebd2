"""Fixtures of the tests of descriptions: a model that needs no network."""

from tests.fake_model import fake_model, photos, run, weights  # noqa: F401
