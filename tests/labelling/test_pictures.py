"""Pictures of objects and of the steps that led to them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from segue.evaluation.overlay import colour
from segue.labelling.kinds import Shape
from segue.labelling.pictures import draw_shapes, step_picture


def test_shapes_are_outlined_in_colours_of_their_own_and_the_rest_stays():
    shapes = [Shape(x, 4, np.ones((6, 6), bool), 1.0) for x in (2, 12)]
    picture = np.asarray(draw_shapes(Image.new("L", (20, 20), 100), shapes))
    assert [tuple(picture[4, x]) for x in (2, 12)] == [colour(0), colour(1)]
    assert (picture[0] == 100).all() and not (picture[6, 5] == 100).all()
    assert not np.array_equal(picture[6, 5], picture[4, 2])  # inside, the picture shows through


@pytest.mark.parametrize(
    ("step", "values"),
    [
        (np.array([[True, False]]), [[255, 0]]),
        (np.array([[0.0, 0.5, 2.0]]), [[0, 63, 255]]),
        (np.zeros((1, 2)), [[0, 0]]),
    ],
)
def test_steps_are_grey(step, values):
    assert np.asarray(step_picture(step)).tolist() == values


def test_numbered_objects_have_colours_and_the_background_is_black():
    picture = np.asarray(step_picture(np.array([[0, 1, 2]])))
    assert [tuple(pixel) for pixel in picture[0]] == [(0, 0, 0), colour(0), colour(1)]
