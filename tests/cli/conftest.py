"""Fixtures of the tests of subcommands: a model that needs no network."""

from tests.fake_model import fake_model, photos, run, run_eagerly, weights  # noqa: F401
