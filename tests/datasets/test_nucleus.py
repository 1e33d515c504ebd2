"""The nuclei of the Data Science Bowl."""

import numpy as np
import pytest

from mrcnn.datasets import NucleusDataset, open_dataset
from mrcnn.datasets.nucleus import VAL_IDS
from tests.datasets.made_up import box, write_picture, write_pixels

VAL_ID = "0c2550a2" + "f" * 56  # begins like one of the images that are held out
TRAIN_ID = "a" * 64


def write(folder, name, *masks):
    write_picture(folder / name / "images" / f"{name}.png")
    (folder / name / "masks").mkdir()
    for number, mask in enumerate(masks):
        write_pixels(folder / name / "masks" / f"m{number}.png", mask * np.uint8(255))


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "stage1_train", TRAIN_ID, box(8, 10, 0, 0, 2, 2), box(8, 10, 4, 4, 8, 8))
    write(tmp_path / "stage1_train", VAL_ID, box(8, 10, 0, 0, 2, 2), np.zeros((8, 10), bool))
    write_picture(tmp_path / "stage1_test" / "t" / "images" / "t.png")
    return tmp_path


@pytest.mark.parametrize(
    ("subset", "names"),
    [
        ("train", [TRAIN_ID]),
        ("val", [VAL_ID]),
        ("stage1_train", [VAL_ID, TRAIN_ID]),
        ("stage1_test", ["t"]),
    ],
)
def test_subsets(root, subset, names):
    dataset = NucleusDataset()
    dataset.load_nucleus(root, subset)
    dataset.prepare()
    assert [info["id"] for info in dataset.image_info] == names
    assert dataset.class_names == ["BG", "nucleus"]
    assert dataset.image_reference(0) == names[0]
    assert NucleusDataset.subsets(root) == ["train", "val", "stage1_train", "stage1_test"]
    opened = open_dataset(root, subset=subset)
    assert [info["id"] for info in opened.image_info] == names


def test_masks(root, caplog):
    dataset = open_dataset(root, subset="stage1_train")
    masks, class_ids = dataset.load_mask(1)
    assert class_ids.tolist() == [1, 1] and class_ids.dtype == np.int32
    np.testing.assert_array_equal(masks[..., 1], box(8, 10, 4, 4, 8, 8))
    assert dataset.load_mask(0)[0].shape == (8, 10, 1)
    assert f"{VAL_ID}.png: 1 of 2 instances" in caplog.text
    assert dataset.image_class_ids(0).tolist() == [1, 1]
    assert open_dataset(root, subset="stage1_test").load_mask(0)[0].shape == (8, 10, 0)


def test_mask_of_another_size(root):
    write_pixels(next((root / "stage1_train" / VAL_ID / "masks").glob("*")), np.ones((4, 4)))
    with pytest.raises(ValueError, match="4x4 pixels; it must have those of the image, 10x8"):
        open_dataset(root, subset="val").load_mask(0)


def test_refusals(root):
    with pytest.raises(ValueError, match="subset is 'test'"):
        NucleusDataset().load_nucleus(root, "test")
    with pytest.raises(FileNotFoundError, match="stage2_test"):
        NucleusDataset().load_nucleus(root, "stage2_test")
    with pytest.raises(ValueError, match="stage1_train, stage1_test; choose one"):
        open_dataset(root)
    with pytest.raises(ValueError, match="must be the name of the one class"):
        open_dataset(root, subset="train", classes=["a", "b"])
    assert open_dataset(root, subset="train", classes=["cell"]).class_names == ["BG", "cell"]


def test_held_out_ids():
    assert len(VAL_IDS) == 25
    assert {len(name) for name in VAL_IDS} == {8}


def test_real_nuclei(data_dir):
    dataset = open_dataset(data_dir / "nucleus")
    summary = dataset.summary()
    assert (summary.num_images, summary.num_instances) == (46, 1037)
    sizes = [dataset.image_size(i) for i in dataset.image_ids]
    counts = {size: sizes.count(size) for size in set(sizes)}
    assert counts == {
        (256, 256): 24,
        (256, 320): 8,
        (360, 360): 6,
        (520, 696): 4,
        (1024, 1024): 2,
        (512, 640): 2,
    }
    assert dataset.load_image(0).shape == (*sizes[0], 3)  # RGBA files
    assert sum(dataset.load_mask(i)[0].shape[2] for i in dataset.image_ids) == 1037
    # None of the images that Matterport holds out is in this part.
    assert NucleusDataset.subsets(data_dir / "nucleus") == ["train", "stage1_train"]
    assert open_dataset(data_dir / "nucleus", subset="train").num_images == 46
    with pytest.raises(ValueError, match="subset is 'val'"):
        open_dataset(data_dir / "nucleus", subset="val")
