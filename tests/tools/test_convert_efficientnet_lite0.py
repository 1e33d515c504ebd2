"""EfficientNet-Lite0 out of a file of PyTorch, without PyTorch."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.checkpoints import verify
from tests.tools.scripts import import_script

convert = import_script("convert_efficientnet_lite0")

# (kernel size, stride, expansion, channels) of the package's 16 blocks.
BLOCKS = [
    (3, 1, 1, 16),
    *((3, 2, 6, 24), (3, 1, 6, 24)),
    *((5, 2, 6, 40), (5, 1, 6, 40)),
    *((3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80)),
    *((5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112)),
    *((5, 2, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192)),
    (3, 1, 6, 320),
]


def make_tensors():
    """Random values under the package's names, the classifier's left out."""
    random = np.random.RandomState(0)
    tensors = {}

    def add(convolution, norm, shape):
        fan_in = np.prod(shape[1:])
        tensors[f"{convolution}.weight"] = random.normal(0, fan_in**-0.5, shape)
        for part in ("weight", "running_var"):
            tensors[f"{norm}.{part}"] = random.uniform(0.5, 1.5, shape[0])
        for part in ("bias", "running_mean"):
            tensors[f"{norm}.{part}"] = random.normal(0, 0.1, shape[0])
        tensors[f"{norm}.num_batches_tracked"] = np.array(7)

    add("_conv_stem", "_bn0", (32, 3, 3, 3))
    channels = 32
    for i, (kernel, _, expansion, width) in enumerate(BLOCKS):
        wide, block = channels * expansion, f"_blocks.{i}."
        if expansion > 1:
            add(f"{block}_expand_conv", f"{block}_bn0", (wide, channels, 1, 1))
        add(f"{block}_depthwise_conv", f"{block}_bn1", (wide, 1, kernel, kernel))
        add(f"{block}_project_conv", f"{block}_bn2", (width, wide, 1, 1))
        channels = width
    return {
        name: value.astype(np.int64 if value.dtype.kind == "i" else np.float32)
        for name, value in tensors.items()
    }


def forward(tensors, x):
    """The package's forward function on TensorFlow's kernel layout: C2 to C5."""

    def conv_bn(x, convolution, norm, stride=1, depthwise=False):
        kernel = tensors[f"{convolution}.weight"].transpose(
            2, 3, *((0, 1) if depthwise else (1, 0))
        )
        function = ops.depthwise_conv if depthwise else ops.conv
        x = function(x, kernel, stride, "same")
        part = {key: tensors[f"{norm}.{key}"] for key in convert._BATCH_NORM}
        scale = part["weight"] / np.sqrt(part["running_var"] + 1e-3)
        return x * scale + (part["bias"] - part["running_mean"] * scale)

    x = ops.relu6(conv_bn(x, "_conv_stem", "_bn0", 2))
    outputs = []
    for i, (_, stride, expansion, width) in enumerate(BLOCKS):
        block, y = f"_blocks.{i}.", x
        if expansion > 1:
            y = ops.relu6(conv_bn(y, f"{block}_expand_conv", f"{block}_bn0"))
        y = ops.relu6(conv_bn(y, f"{block}_depthwise_conv", f"{block}_bn1", stride, True))
        y = conv_bn(y, f"{block}_project_conv", f"{block}_bn2")
        x = x + y if stride == 1 and x.shape[-1] == width else y
        outputs.append(x)
    return [outputs[i] for i in (2, 4, 10, 15)]


def write_pth(tensors, magic=convert._MAGIC[0], extra=None):
    """The bytes that PyTorch before 1.6 writes for a table of tensors."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*_):
        pass

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    rebuild.__name__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild

    class Tensor:
        def __init__(self, key, value):
            self.key, self.value = key, value

        def __reduce__(self):
            value = self.value
            strides = tuple(step // value.itemsize for step in value.strides)
            arguments = (self, 0, value.shape, strides, False, OrderedDict())
            return rebuild, (Storage(self.key, value), *arguments[1:])

    class Storage:
        def __init__(self, key, value):
            kind = torch.FloatStorage if value.dtype.kind == "f" else torch.LongStorage
            self.pid = ("storage", kind, key, "cpu", value.size, None)

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            return item.pid if isinstance(item, Storage) else None

    file = io.BytesIO()
    table = OrderedDict((name, Tensor(str(i), v)) for i, (name, v) in enumerate(tensors.items()))
    saved = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        for item in (magic, 1001, {"little_endian": True}, extra or table):
            Pickler(file, 2).dump(item)
        Pickler(file, 2).dump([str(i) for i in range(len(tensors))])
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    for value in tensors.values():
        file.write(value.size.to_bytes(8, "little") + value.tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def tensors():
    return make_tensors()


def test_tensors(tensors):
    read = convert.read_tensors(io.BytesIO(write_pth(tensors)))
    assert list(read) == list(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("wheel", [False, True])
def test_equals_the_package(tensors, tmp_path, wheel):
    path = tmp_path / "package"
    if wheel:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("models/efficientnet-lite0.pth", write_pth(tensors))
            archive.writestr("README", "")
    else:
        path.write_bytes(write_pth(tensors))
    model = convert.build(convert.read_efficientnet_lite0(path))
    image = np.random.RandomState(1).randint(0, 256, (1, 64, 96, 3)).astype(np.float32)
    expected = forward(tensors, (image - 127) / 128)
    for number, stage, theirs in zip((2, 3, 4, 5), model(image - 127), expected):
        stage, theirs = map(keras.ops.convert_to_numpy, (stage, theirs))
        stage = stage * convert.DIVISORS[number]
        np.testing.assert_allclose(stage, theirs, atol=1e-5 * abs(theirs).max())


def test_classifier(tensors):
    random = np.random.RandomState(2)
    norm = {"weight": 1.5, "bias": 0.2, "running_mean": 0.1, "running_var": 0.7}
    whole = {
        **tensors,
        "_conv_head.weight": random.normal(0, 0.06, (1280, 320, 1, 1)).astype(np.float32),
        **{f"_bn1.{part}": np.full(1280, norm[part], np.float32) for part in convert._BATCH_NORM},
        "_fc.weight": random.normal(0, 0.1, (1000, 1280)).astype(np.float32),
        "_fc.bias": random.normal(0, 0.1, 1000).astype(np.float32),
    }
    values = convert.read_values(whole)
    model = convert.build(values, classifier=True)
    image = random.randint(0, 256, (1, 64, 96, 3)).astype(np.float32)
    last = keras.ops.convert_to_numpy(forward(tensors, (image - 127) / 128)[-1])
    x = last @ whole["_conv_head.weight"][:, :, 0, 0].T
    x = np.clip((x - 0.1) / np.sqrt(0.7 + 1e-3) * 1.5 + 0.2, 0, 6).mean(axis=(1, 2))
    logits = x @ whole["_fc.weight"].T + whole["_fc.bias"]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    found = keras.ops.convert_to_numpy(model(image - 127))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_file(tensors, tmp_path, monkeypatch, capsys):
    source, path = tmp_path / "a.pth", tmp_path / "lite0.h5"
    source.write_bytes(write_pth(tensors))
    monkeypatch.setattr("sys.argv", ["convert", str(source), str(path)])
    convert.main()
    info = verify(path)
    assert (info.backbone, len(info.layers), info.image_channels) == ("efficientnet_lite0", 96, 3)
    assert capsys.readouterr().out == f"{path}: 2,998,304 parameters of efficientnet_lite0\n"


def test_other_files(tensors, tmp_path):
    with pytest.raises(ValueError, match="the file begins with"):
        convert.read_tensors(io.BytesIO(write_pth(tensors, magic=5)))
    with pytest.raises(pickle.UnpicklingError, match="system is not part of a table of tensors"):
        convert.read_tensors(io.BytesIO(pickle.dumps(__import__("os").system)))
    path = tmp_path / "empty.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "")
    with pytest.raises(ValueError, match=r"empty\.whl has 0 files \.pth; it must have one"):
        convert.read_package(path)


def test_cut_file(tensors):
    data = write_pth(tensors)
    with pytest.raises((ValueError, EOFError)):
        convert.read_tensors(io.BytesIO(data[: len(data) // 2]))
