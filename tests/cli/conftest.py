"""Fixtures of the verbs' tests: a model that needs no network."""

from tests.fake_model import fake_model, photos, run, weights  # noqa: F401
