"""Colors that classes and instances have in every image."""

import numpy as np
import pytest

from mrcnn.drawing.colors import fixed_colors, instance_colors


def test_fixed_colors_do_not_depend_on_count():
    assert fixed_colors(5) == fixed_colors(90)[:5]
    assert len(set(fixed_colors(90))) == 90
    assert all(0 <= c <= 1 for color in fixed_colors(90) for c in color)
    assert fixed_colors(0) == []
    with pytest.raises(ValueError, match="count is -1; it must be at least 0"):
        fixed_colors(-1)


@pytest.mark.parametrize("class_ids", [[3], [1, 3], [7, 3, 3], np.array([80, 3])])
def test_a_class_has_its_color_in_every_image(class_ids):
    colors = instance_colors(class_ids, "class", len(class_ids))
    expected = fixed_colors(80)
    assert colors == [expected[k - 1] for k in class_ids]


def test_colors_of_instances():
    assert instance_colors([3, 3], "instance", 2) == fixed_colors(2)
    assert instance_colors(None, "class", 2) == fixed_colors(2)
    assert instance_colors([0, -3], "class", 2) == [fixed_colors(1)[0]] * 2
    with pytest.raises(ValueError, match="color_by is 'name'; it must be 'class' or 'instance'"):
        instance_colors([1], "name", 1)
