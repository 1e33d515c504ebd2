"""The layout of `image_meta`: written, read, and the positions by name."""

import numpy as np

from mrcnn.geometry import image_meta
from mrcnn.geometry.image_meta import compose_image_meta, image_meta_size, parse_image_meta


def test_image_meta_round_trip():
    metas = np.stack(
        [
            compose_image_meta(i, (90, 120, 3), (128, 128, 3), (16, 0, 112, 128), 1.5, [1, 0, 1])
            for i in (4, 7)
        ]
    )
    assert metas.shape == (2, 15) and metas.dtype == np.float64
    parts = parse_image_meta(metas)
    assert parts["image_id"].tolist() == [4, 7]
    assert parts["original_image_shape"].tolist() == [[90, 120, 3]] * 2
    assert parts["image_shape"].tolist() == [[128, 128, 3]] * 2
    assert parts["window"].tolist() == [[16, 0, 112, 128]] * 2
    assert parts["scale"].tolist() == [1.5, 1.5]
    assert parts["active_class_ids"].tolist() == [[1, 0, 1]] * 2


def test_positions_by_name():
    meta = compose_image_meta(5, (1, 2, 3), (4, 5, 6), (7, 8, 9, 10), 11, [12, 13])
    assert {name: meta[index].tolist() for name, index in image_meta.FIELDS.items()} == {
        "image_id": 5,
        "original_image_shape": [1, 2, 3],
        "image_shape": [4, 5, 6],
        "window": [7, 8, 9, 10],
        "scale": 11,
        "active_class_ids": [12, 13],
    }
    assert len(meta) == image_meta_size(2) == 14
