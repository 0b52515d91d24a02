"""Errors are one line that says where, what was found, what was expected and what to type next."""

from __future__ import annotations

import pickle

import pytest

from segue.errors import (
    CheckpointError,
    DataError,
    HandoverError,
    Interrupted,
    SegueError,
    TrainingError,
    laid_out,
    printable,
)


def test_a_message_has_what_is_known_and_nothing_else():
    full = DataError("a.json", "no image", "one", "segue data info")
    assert full.message == str(full) == "a.json: no image; expected one; next: segue data info"
    assert SegueError("a.json", "no image").message == "a.json: no image"


def test_what_comes_from_a_file_cannot_move_a_cursor():
    assert printable("a\x1b[2J\tb\nc") == "a\\x1b[2J\\tb\nc"
    assert "\x1b" not in DataError("\x1b[2J", "\x07").message


def test_errors_cross_process_borders_whole():
    error = HandoverError("w", "x", "y", "z")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is HandoverError and copy.message == error.message and copy.next_step == "z"


def test_exit_codes_tell_input_from_training_and_signals():
    codes = [kind("a", "b").exit_code for kind in (DataError, HandoverError, TrainingError)]
    assert codes == [2, 2, 3] and Interrupted(15).exit_code == 143
    assert "everything is saved" in str(Interrupted(15)) and "whole" in str(Interrupted(2, True))


@pytest.mark.parametrize("wrong", [lambda: {}["a"], lambda: None.shape, lambda: 1 / 0])
def test_values_of_another_layout_are_an_error_of_the_file(wrong):
    with (
        pytest.raises(CheckpointError, match="a.pth: not laid out like one"),
        laid_out("a.pth", "a checkpoint"),
    ):
        wrong()


def test_our_own_errors_and_interrupts_pass_through_unchanged():
    for error in (DataError("a", "b"), KeyboardInterrupt(), OSError("disk")):
        with pytest.raises(type(error)) as raised, laid_out("x", "y"):
            raise error
        assert raised.value is error
