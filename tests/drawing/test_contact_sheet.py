"""Several images on one sheet."""

import numpy as np
import pytest

from mrcnn.drawing.contact_sheet import contact_sheet


def flat(height, width, value):
    return np.full((height, width, 3), value, np.uint8)


def test_images_of_a_row_have_one_height():
    sheet = contact_sheet([flat(40, 40, 10), flat(20, 40, 20), flat(9, 9, 30)], 2, 128)
    assert sheet.shape == (40 + 8 + 60, 128, 3)
    assert sheet[:40, :40].max() == 10 and (sheet[:40, 48:128] == 20).all()
    assert (sheet[:40, 40:48] == 255).all() and (sheet[40:48] == 255).all()
    # The last row has one image, of the size that it would have beside another.
    assert (sheet[48:, :60] == 30).all() and (sheet[48:, 60:] == 255).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "images is empty"),
        (([flat(4, 4, 0)], 0), "columns is 0; it must be at least 1"),
        (([flat(4, 4, 0)], 1, 63), "width is 63; it must be at least 64"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(*arguments)
