"""The error of an image says which kind of problem it is, on whichever process it was raised."""

from __future__ import annotations

import pickle

from segue.data.images.image_error import ImageError


def test_an_error_becomes_a_problem_of_its_kind_after_crossing_processes():
    error = pickle.loads(
        pickle.dumps(ImageError("damaged image", "a.png", "cut", "a whole one", "x"))
    )
    problem = error.problem()
    assert (error.kind, error.next_step, problem.kind, problem.where) == (
        "damaged image",
        "x",
        "damaged image",
        "a.png",
    )
    assert problem.message == "cut; expected a whole one" and problem.action == "quarantine"
