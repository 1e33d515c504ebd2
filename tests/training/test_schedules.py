"""Learning rates and optimizers by name."""

import keras
import numpy as np
import pytest

from mrcnn.training.schedules import (
    NamedSchedule,
    default_learning_rate,
    make_optimizer,
    renew_optimizer,
)
from tests.tiny import tiny_config

COSINE = [0.5 * (1 + np.cos(np.pi * share)) for share in (0, 0.25, 0.5, 1, 1)]


@pytest.mark.parametrize(
    "kind, warmup, steps, factors",
    [
        ("constant", 0, (0, 8, 100), (1, 1, 1)),
        ("constant", 4, (0, 1, 3, 4, 9), (0.25, 0.5, 1, 1, 1)),
        ("step", 0, (0, 11, 12, 15, 16, 50), (1, 1, 0.1, 0.1, 0.01, 0.01)),
        ("step", 2, (0, 1, 2, 12), (0.5, 1, 1, 0.1)),
        ("cosine", 0, (0, 4.5, 9, 18, 30), COSINE),
        ("cosine", 2, (0, 1, 2, 6, 10, 18), (0.5, 1, *COSINE[:4])),
        ("cosine", 18, (0, 17, 18), (1 / 18, 1, 1)),
    ],
)
def test_values(kind, warmup, steps, factors):
    schedule = NamedSchedule(kind, 0.02, total_steps=18, warmup_steps=warmup)
    values = [float(schedule(step)) for step in steps]
    np.testing.assert_allclose(values, 0.02 * np.array(factors), rtol=1e-5, atol=1e-9)


def test_a_schedule_is_saved_with_its_optimizer():
    optimizer = keras.optimizers.SGD(NamedSchedule("cosine", 0.1, 20, 5))
    again = keras.optimizers.SGD.from_config(optimizer.get_config())
    assert again._learning_rate.get_config() == {
        "kind": "cosine",
        "learning_rate": 0.1,
        "total_steps": 20,
        "warmup_steps": 5,
    }


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("linear", 0.1, 10), "kind is 'linear'; it must be constant, step, cosine"),
        (("step", 0.1, 0), "total_steps is 0; it must be at least 1"),
        (("step", 0.1, 10, 11), r"warmup_steps is 11; it must be in 0..total_steps, 10"),
        (("step", 0.1, 10, -1), r"warmup_steps is -1; it must be in 0..total_steps, 10"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        NamedSchedule(*arguments)


@pytest.mark.parametrize("name, kind", [("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_optimizers_follow_the_settings(name, kind, accumulate):
    config = tiny_config(GRADIENT_CLIP_NORM=2.0, ACCUMULATE_STEPS=accumulate)
    optimizer = make_optimizer(name, config, 0.25)
    assert type(optimizer).__name__ == kind
    assert optimizer.global_clipnorm == 2.0
    assert optimizer.gradient_accumulation_steps == (accumulate if accumulate > 1 else None)
    assert float(optimizer.learning_rate) == 0.25


def test_adamw_leaves_biases_and_normalization_alone():
    optimizer = make_optimizer("adamw", tiny_config(), 0.1)
    variables = [keras.Variable(np.ones(2), name=n) for n in ("kernel", "bias", "gamma", "beta")]
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros(2)] * 4, variables)
    changed = [v.name for v in variables if (np.array(v.value) != 1).any()]
    assert changed == ["kernel"]


def test_a_renewed_optimizer_has_the_same_settings():
    """Also those that `get_config` leaves out; with another class, as on several devices."""
    kind = type("Other", (keras.optimizers.AdamW,), {})
    variables = [keras.Variable(np.ones(1), name=name) for name in ("kernel", "bias")]
    for wish in (None, kind):
        renewed = renew_optimizer(make_optimizer("adamw", tiny_config(), 0.5), wish)
        assert type(renewed) is (wish or keras.optimizers.AdamW)
        renewed.build(variables)
        assert [renewed._use_weight_decay(one) for one in variables] == [True, False]
        assert float(renewed.learning_rate) == 0.5


def test_the_default_learning_rate_depends_on_the_optimizer():
    config = tiny_config(LEARNING_RATE=0.02)
    rates = [default_learning_rate(name, config) for name in ("sgd", "adam", "adamw")]
    assert rates == pytest.approx([0.02, 0.002, 0.002])
    with pytest.raises(ValueError, match="optimizer is 'lion'; it must be sgd, adam, adamw"):
        make_optimizer("lion", config, 0.1)
