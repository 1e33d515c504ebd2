"""Weight files and refiner files that were damaged or made to harm.

Only ValueError and OSError may come out of reading one, in bounded time and memory, and a model
that was not loaded keeps its values. `MRCNN_MUTATIONS` sets the number of seeded mutations.
"""

import os
import random
import resource
import time

import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import (
    is_keras3_weights_file,
    load_class_rows,
    load_weights,
    non_finite_layers,
    read_squeezenet,
    save_weights,
    verify,
)
from mrcnn.checkpoints.description import describe_weights
from mrcnn.checkpoints.hdf5 import open_hdf5
from mrcnn.checkpoints.weight_file import read_metadata
from tests.checkpoints.fakes import FakeModel, conv, norm, variables
from tests.counts import num_mutations

COUNT = num_mutations(300)
MAX_SECONDS = 5.0
MAX_GROWTH = 512 * 2**20


def tiny(fill=0.0):
    rpn = FakeModel([conv("rpn_class_raw", (1, 1, 2, 6), fill)], "rpn_model")
    return FakeModel(
        [
            conv("conv1", (3, 3, 3, 2), fill),
            norm("bn_conv1", 2, fill),
            rpn,
            conv("mrcnn_class_logits", (4, 3), fill),
            conv("mrcnn_bbox_fc", (4, 12), fill),
            conv("mrcnn_mask", (1, 1, 2, 3), fill),
        ]
    )


METADATA = {"class_names": ["BG", "a", "b"]}


def tiny_file(path, **kwargs):
    save_weights(tiny(1.0), path, **{"metadata": METADATA, **kwargs})
    return path


def keras3_file(path):
    with h5py.File(path, "w") as file:
        for number, (name, shapes) in enumerate(
            {"conv1": [(3, 3, 3, 2), (2,)], "mrcnn_mask": [(1, 1, 2, 3), (3,)]}.items()
        ):
            group = file.create_group(f"layers/conv2d_{number}/vars")
            group.attrs["name"] = name
            for index, shape in enumerate(shapes):
                group[str(index)] = np.ones(shape, np.float32)
    return path


def squeezenet_file(path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"conv1", b"fire2/squeeze1x1"])
        for layer, shape in (("conv1", (3, 3, 3, 2)), ("fire2/squeeze1x1", (1, 1, 2, 2))):
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([b"uniform", b"bias"])
            group["uniform"] = np.ones(shape, np.float32)
            group["bias"] = np.ones(shape[-1:], np.float32)
    return path


def flip_bytes(rng, path):
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 5, 30])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)


def cut_or_splice(rng, path):
    data = path.read_bytes()
    start, stop = sorted(rng.randrange(len(data)) for _ in range(2))
    kept = rng.choice([data[:start], data[:start] + data[stop:], data[:stop] + data[start:]])
    path.write_bytes(kept)


ODD_VALUES = [
    b"\xff\xfe", "\udcff", "", "a\x00b", "\x1b[2J", 5, 1.5, np.nan, True, 1j, [1, 2], [[b"x"]],
    np.zeros((0,)), np.array([b"conv1", b"conv1"]), np.array([b"/", b"."]), h5py.Empty("f4"),
    np.array([b"\xc3\x28"]), np.array([b"../conv1"]), "{", "[" * 5000, "x" * 40000,
]  # fmt: skip


def replace_attribute(rng, path):
    with h5py.File(path, "r+") as file:
        holders = [file]
        file.visititems(lambda _, item: holders.append(item))
        holder = rng.choice([item for item in holders if len(item.attrs)])
        name, value = rng.choice(sorted(holder.attrs)), rng.choice(ODD_VALUES)
        del holder.attrs[name]
        try:
            holder.attrs[name] = value
        except (ValueError, UnicodeError, TypeError):  # h5py itself does not write this one
            holder.attrs[name] = 7


def odd_array(rng, file, name):
    shape = file[name].shape
    del file[name]
    kind = rng.randrange(14)
    if kind == 0:
        file[name] = np.zeros(shape, rng.choice(["u1", "i4", "c8", "?", "S3"]))
    elif kind == 1:
        file.create_dataset(name, data=h5py.Empty("f4"))
    elif kind == 2:
        file.create_dataset(name, shape, dtype=np.dtype(("f4", (2,))))
    elif kind == 3:
        file.create_dataset(name, shape, dtype=h5py.string_dtype())
    elif kind == 4:
        file.create_dataset(name, shape, dtype=h5py.vlen_dtype(np.float32))
    elif kind == 5:
        file.create_dataset(name, shape, dtype=h5py.ref_dtype)
    elif kind == 6:
        file.create_dataset(name, shape, dtype=np.dtype([("a", "f4"), ("b", "i4")]))
    elif kind == 7:
        file.create_dataset(name, (10**6, 10**6), "f4", chunks=(64, 64))
    elif kind == 8:
        file.create_dataset(name, (10**12,), "f8")
    elif kind == 9:
        file[name] = "text"
    elif kind == 10:
        file.create_group(name)
    elif kind == 11:
        file[name] = np.ones((*shape, 1), np.float32)
    elif kind == 12:
        file[name] = np.float32(1)
    else:
        file.create_dataset(name, shape, "f4")


def replace_array(rng, path):
    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda n, item: names.append(n) if isinstance(item, h5py.Dataset) else None)
        odd_array(rng, file, rng.choice(names))


def relink(rng, path):
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["x"] = np.full((3, 3, 3, 2), 5.0, np.float32)
    with h5py.File(path, "r+") as file:
        names = []
        file.visit(names.append)
        name = rng.choice(names)
        kind = rng.randrange(5)
        parent = file[name].parent
        if kind < 4:
            del file[name]
        if kind == 0:
            file[name] = h5py.ExternalLink(str(other), "/x")
        elif kind == 1:
            file[name] = h5py.SoftLink(rng.choice(["/nothing", "/", f"/{name}", f"/{names[0]}"]))
        elif kind == 2:
            file[name] = parent  # a group inside itself
        elif kind == 3:
            target = rng.choice([n for n in names if n in file] or ["/"])
            file[name] = file[target]


MUTATIONS = [flip_bytes, flip_bytes, cut_or_splice, replace_attribute, replace_array, relink]
MAKERS = [
    ("w.h5", tiny_file),
    ("w.weights.h5", keras3_file),
    ("w.h5", squeezenet_file),
]


def outcome(function, *args, **kwargs):
    """The class of the expected error, or None; bounded in time."""
    began = time.process_time()
    try:
        function(*args, **kwargs)
    except (ValueError, OSError) as error:
        assert not isinstance(error, UnicodeError), error
        assert type(error).__module__ != "h5py", error
        assert all(character.isprintable() or character == "\n" for character in str(error))
        return type(error)
    finally:
        assert time.process_time() - began < MAX_SECONDS
    return None


def test_mutated_weight_files(tmp_path, recwarn):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for seed in range(COUNT):
        rng = random.Random(seed)
        name, make = rng.choice(MAKERS)
        path = make(tmp_path / name)
        mutation = rng.choice(MUTATIONS)
        mutation(rng, path)
        for function in (
            *(verify, is_keras3_weights_file, non_finite_layers, read_squeezenet),
            *(read_metadata, describe_weights),
        ):
            outcome(function, path)
        model = tiny()
        model.load_weights = lambda *_, **__: None
        failed = outcome(load_weights, model, path, skip_mismatch=rng.random() < 0.3)
        if failed:
            refused += 1
            assert all(v.assigned == 0 for v in variables(model).values()), (seed, mutation)
        rows = tiny()
        names = ["BG", "a", "b"]
        if outcome(load_class_rows, rows, path, names, names):
            assert all(v.assigned == 0 for v in variables(rows).values()), (seed, mutation)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert growth * 1024 < MAX_GROWTH
    assert refused > COUNT / 4


KERNEL = "conv1/conv1/kernel:0"


def with_array(**arguments):
    def change(path):
        with h5py.File(path, "r+") as file:
            del file[KERNEL]
            file.create_dataset(KERNEL, **arguments)

    return change


def with_link(link):
    def change(path):
        with h5py.File(path, "r+") as file:
            del file[KERNEL]
            file[KERNEL] = link(path)

    return change


def outside(path):
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["x"] = np.ones((3, 3, 3, 2), np.float32)
    return other


def external_storage(path):
    raw = path.with_name("raw.bin")
    raw.write_bytes(np.ones((3, 3, 3, 2), np.float32).tobytes())
    with_array(shape=(3, 3, 3, 2), dtype="f4", external=[(str(raw), 0, 216)])(path)


def virtual_dataset(path):
    layout = h5py.VirtualLayout((3, 3, 3, 2), "f4")
    layout[...] = h5py.VirtualSource(str(outside(path)), "x", (3, 3, 3, 2))
    with h5py.File(path, "r+") as file:
        del file[KERNEL]
        file.create_virtual_dataset(KERNEL, layout)


def soft_link_through_an_external_one(path):
    with h5py.File(path, "r+") as file:
        del file[KERNEL]
        file["elsewhere"] = h5py.ExternalLink(str(outside(path)), "/")
        file[KERNEL] = h5py.SoftLink("/elsewhere/x")


def with_attribute(value, name="weight_names", group="conv1"):
    def change(path):
        with h5py.File(path, "r+") as file:
            file[group].attrs[name] = value

    return change


def sequence_instead_of_text(path):
    """Change the type of a text of variable length, so that h5py ends the process reading it.

    The text is the attribute that earlier versions wrote.
    """
    text = b"\x19\x01\x01\0\x10\0\0\0"  # class and version, kind of sequence, UTF-8, 16 bytes
    with_attribute('{"class_names": ["BG"]}', "mrcnn_metadata", "/")(path)
    content = path.read_bytes()
    assert content.count(text) == 1
    path.write_bytes(content.replace(text, b"\x19\x0c" + text[2:]))


def with_sequences(path):
    with h5py.File(path, "r+") as file:
        floats = h5py.vlen_dtype(np.float32)
        file["conv1"].attrs.create("weight_names", [np.ones(2), np.ones(3)], dtype=floats)


SHAPE = (3, 3, 3, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_array(data=np.ones(SHAPE, "u1")), "kernel:0 .* is of type uint8; it must be"),
        (with_array(data=np.ones(SHAPE, "i8")), "kernel:0 .* is of type int64; it must be"),
        (with_array(data=np.ones(SHAPE, "?")), "kernel:0 .* is of type bool; it must be"),
        (with_array(data=np.ones(SHAPE, "c8")), "kernel:0 .* is of type complex64; it must be"),
        (with_array(data=np.ones(SHAPE, "g")), "kernel:0 .* is of type float128; it must be"),
        (with_array(shape=SHAPE, dtype=np.dtype(("f4", (1,)))), "kernel:0 .* is of type"),
        (with_array(shape=SHAPE, dtype=h5py.string_dtype()), "kernel:0 .* is of type object"),
        (with_array(shape=SHAPE, dtype=h5py.ref_dtype), "kernel:0 .* is of type object"),
        (with_array(data=h5py.Empty("f4")), "kernel:0 .* is empty; it must be an array"),
        (with_array(shape=(10**12,), dtype="f4"), r"kernel:0 .* has the shape \(10{12},\)"),
        (with_array(shape=SHAPE, dtype="f4"), "kernel .*no values"),
        (external_storage, "values of .*kernel:0 lie in another file"),
        (virtual_dataset, "values of .*kernel:0 lie in another file"),
        (with_link(lambda p: h5py.ExternalLink(str(outside(p)), "/x")), "link to another file"),
        (soft_link_through_an_external_one, "elsewhere is a link to another file"),
        (with_attribute(np.array([b"\xff\xfe"])), "weight_names of .* must be UTF-8 text"),
        (with_attribute(5), "weight_names of .* holds 5; it must hold text"),
        (sequence_instead_of_text, "mrcnn_metadata of .* is of type object; it must hold text"),
        (with_sequences, "weight_names of .* is of type object; it must hold text"),
        (with_attribute(b"\xff", "layer_names", "/"), "layer_names of .* must be UTF-8 text"),
        (with_attribute(7, "mrcnn_metadata", "/"), "mrcnn_metadata of .* it must be one text"),
        (with_attribute("[" * 60000, "mrcnn_metadata", "/"), "mrcnn_metadata of .* is not JSON"),
    ],
)
def test_what_is_refused_by_name(tmp_path, change, message):
    path = tiny_file(tmp_path / "w.h5")
    if "mrcnn_metadata" in message:  # the attribute of earlier versions
        tiny_file(path, metadata={})
    change(path)
    model = tiny()
    with pytest.raises(ValueError, match=message):
        load_weights(model, path)
    assert all(variable.assigned == 0 for variable in variables(model).values())


METADATA_ARRAYS = {
    "no-json": (np.frombuffer(b'{"config": {', "u1"), {}, "mrcnn_metadata of .* is not JSON"),
    "nested": (np.full(10**6, ord("["), "u1"), {}, "mrcnn_metadata of .* is not JSON"),
    "digits": (np.full(10**5, ord("9"), "u1"), {}, "mrcnn_metadata of .* is not JSON"),
    "utf-16": (np.frombuffer(b"\xff\xfe{", "u1"), {}, "mrcnn_metadata of .* is not JSON"),
    "list": (np.frombuffer(b"[1]", "u1"), {}, "is a JSON list; it must be an object"),
    "floats": (
        np.ones(5, "f4"),
        {},
        r"of type float32 and shape \(5,\); it must be a row",
    ),
    "matrix": (np.ones((2, 2), "u1"), {}, "it must be a row of bytes"),
    "number": (np.uint8(7), {}, "it must be a row of bytes"),
    "empty": (h5py.Empty("u1"), {}, "mrcnn_metadata of .* is empty"),
    "text": ("{}", {}, "mrcnn_metadata of .* is of type object"),
    "large": (np.zeros(2**24 + 1, "u1"), {"compression": "gzip"}, "must have at most 16,777,216"),
    "claimed": (None, {"shape": (2**40,), "dtype": "u1"}, "mrcnn_metadata of .* has the shape"),
    "hollow": (None, {"shape": (9,), "dtype": "u1"}, "mrcnn_metadata of .* is not JSON"),
}


@pytest.mark.parametrize("case", METADATA_ARRAYS)
def test_metadata_that_are_refused(tmp_path, case):
    data, arguments, message = METADATA_ARRAYS[case]
    path = tiny_file(tmp_path / "w.h5", metadata={})
    with h5py.File(path, "r+") as file:
        file.create_dataset("mrcnn_metadata", data=data, **arguments)
    for read in (verify, read_metadata, describe_weights):
        with pytest.raises(ValueError, match=message):
            read(str(path))


def test_metadata_that_are_a_group(tmp_path):
    path = tiny_file(tmp_path / "w.h5", metadata={})
    with h5py.File(path, "r+") as file:
        file.create_group("mrcnn_metadata")
    with pytest.raises(ValueError, match=r"mrcnn_metadata of .* is a group"):
        describe_weights(str(path))


def test_soft_links_inside_the_file_are_followed(tmp_path):
    path = tiny_file(tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        file.move(KERNEL, "kernel")
        file[KERNEL] = h5py.SoftLink("/kernel")
    model = tiny()
    assert "conv1" in load_weights(model, path).loaded
    assert np.all(model.value("conv1") == 1.0)


@pytest.mark.parametrize("function", [verify, is_keras3_weights_file, non_finite_layers])
def test_pipes_devices_and_folders_are_refused_at_once(tmp_path, function):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", "/dev/zero", tmp_path):
        with pytest.raises(ValueError, match="it must be a weight file"):
            function(path)
    with pytest.raises(FileNotFoundError):
        function(tmp_path / "none")
    with pytest.raises(ValueError, match="must be the path of a file"):
        function("a\0b")


def test_escape_codes_do_not_reach_messages(tmp_path):
    path = tiny_file(tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = np.array([b"conv1", b"\x1b[2Jevil"])
    with pytest.raises(ValueError, match="is listed but has no group") as error:
        load_weights(tiny(), path)
    assert "\x1b" not in str(error.value) and "\\x1b[2Jevil" in str(error.value)


def test_keras_3_file_with_more_values_than_the_model_can_take(tmp_path):
    path = tmp_path / "w.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (2**20, 2**10), "f4", chunks=(64, 64))
    with pytest.raises(ValueError, match="it must hold at most"):
        load_weights(tiny(), path, keras_loader=None.__class__)


@pytest.mark.parametrize(
    ("libver", "message"),
    [
        ("earliest", "has a text of 2,147,483,648 bytes; it must fit into"),
        ("latest", "is damaged"),  # these headers have checksums
    ],
)
@pytest.mark.parametrize("value", ["conv", ["ab", "conv"]])
def test_claimed_length_of_a_text_is_compared_before_it_is_read(tmp_path, libver, message, value):
    """HDF5 would allocate 2 GB for it, also where the address of the text is damaged as well."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["layer_names"] = value
    with open_hdf5(path):
        pass
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL").to_bytes(8, "little")
    place = content.rindex((4).to_bytes(4, "little") + heap)
    content[place : place + 12] = (2**31).to_bytes(4, "little") + (10**8).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        with open_hdf5(path):
            pass
