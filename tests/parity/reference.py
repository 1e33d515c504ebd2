"""Reads the numbers recorded from Matterport's package.

`load_calls("utils.resize_image")` gives every recorded call of a function with
its arguments and results as fresh NumPy arrays and plain Python values:

    from tests.parity.reference import each_call

    @each_call("utils.extract_bboxes")
    def test_extract_bboxes(call):
        np.testing.assert_array_equal(extract_bboxes(**call.args), call.out["boxes"])

Where the recordings are absent, such a test is skipped; `load_calls` gives an empty list
then, and `need_calls` skips the test that calls it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

SHARED = Path(os.environ.get("MRCNN_SHARED", Path(__file__).resolve().parents[3] / "shared"))
PARITY = SHARED / "parity"


class Call(NamedTuple):
    """One recorded call.

    Attributes:
        id: `function#number`.
        args: Argument name to value.
        out: Result name to value.
        note: What is special about the call, or None.
        seed: Seed of the random module used by the call, or None.
    """

    id: str
    args: dict[str, Any]
    out: dict[str, Any]
    note: str | None = None
    seed: int | None = None


def available() -> bool:
    """Whether the recordings lie beside this checkout."""
    return (PARITY / "functions.json").is_file() and (PARITY / "functions.npz").is_file()


@functools.cache
def _recorded() -> tuple[dict[str, Any], ...]:
    if not available():
        return ()
    return tuple(json.loads((PARITY / "functions.json").read_text())["calls"])


@functools.cache
def _arrays() -> Any:
    return np.load(PARITY / "functions.npz")


def unpack_bits(bits: np.ndarray, shape: Any) -> np.ndarray:
    """Boolean array of `shape` from the packed bytes of `numpy.packbits`."""
    shape = tuple(int(n) for n in shape)
    count = int(np.prod(shape))
    return np.unpackbits(bits)[:count].reshape(shape).astype(bool)


def _literal(value: Any) -> Any:
    """JSON literal with the strings that stand for special floats replaced."""
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, str) and value.lower() in {"nan", "inf", "-inf"}:
        return float(value)
    return value


def decode(entry: Any) -> Any:
    """Value of one entry of functions.json (see the README beside it)."""
    if not isinstance(entry, dict):
        return entry
    if "npz" in entry:
        return _arrays()[entry["npz"]]
    if "npz_bits" in entry:
        return unpack_bits(_arrays()[entry["npz_bits"]], entry["shape"])
    if "list" in entry:
        return [decode(item) for item in entry["list"]]
    if "dict" in entry:
        return {key: decode(item) for key, item in entry["dict"].items()}
    if "value" in entry:
        value = _literal(entry["value"])
        if entry.get("type") == "tuple":
            return tuple(value)
        if "dtype" in entry and not isinstance(value, list):
            return np.dtype(entry["dtype"]).type(value)
        return value
    return {key: decode(item) for key, item in entry.items()}


def load_calls(function: str) -> list[Call]:
    """Every recorded call of `function` (`"utils.compute_ap"`), in file order."""
    return [
        Call(
            id=entry["id"],
            args={name: decode(value) for name, value in entry["args"].items()},
            out={name: decode(value) for name, value in entry["out"].items()},
            note=entry.get("note"),
            seed=entry.get("seed"),
        )
        for entry in _recorded()
        if entry["function"] == function
    ]


def need_calls(function: str) -> list[Call]:
    """Like load_calls; skips the running test where the recordings are absent."""
    if not available():
        pytest.skip(f"recorded reference numbers not found at {PARITY}")
    return load_calls(function)


def load_call(call_id: str) -> Call:
    """One recorded call by its id (`"model.load_image_gt#0"`)."""
    function = call_id.rsplit("#", 1)[0]
    return next(call for call in need_calls(function) if call.id == call_id)


def call_id(call: Call) -> str:
    """Label of a call for `pytest.mark.parametrize(ids=...)`."""
    return call.id


def each_call(*functions: str) -> pytest.MarkDecorator:
    """Parametrize a test over every recorded call of these functions, as `call`."""
    calls: list[Any] = [call for function in functions for call in load_calls(function)]
    if not calls:
        reason = f"recorded reference numbers not found at {PARITY}"
        calls = [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
        return pytest.mark.parametrize("call", calls)
    return pytest.mark.parametrize("call", calls, ids=call_id)


def load_npz(name: str) -> dict[str, Any]:
    """All arrays of `name` (`"case_A.npz"`); `*_json` entries are parsed.

    Skips the running test where the file is absent.
    """
    path = PARITY / name
    if not path.is_file():
        pytest.skip(f"recorded reference numbers not found at {path}")
    with np.load(path) as archive:
        values: dict[str, Any] = {key: archive[key] for key in archive.files}
    return {
        key: json.loads(str(value)) if key.endswith("_json") else value
        for key, value in values.items()
    }


def _module(file_name: str) -> ModuleType:
    path = PARITY / file_name
    if not path.is_file():
        pytest.skip(f"{file_name} not found at {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def make_weights() -> ModuleType:
    """Module writing deterministic weight files: `.make(layout, path, seed)`,
    `.values(path, shape, seed)`, `.fingerprint(path)`."""
    return _module("make_weights.py")


@functools.cache
def shapes_data() -> ModuleType:
    """Module drawing the images of the trained shapes model."""
    return _module("shapes_data.py")
