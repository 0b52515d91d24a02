"""Libraries that an installation may lack are named with the command that brings them."""

from __future__ import annotations

import pytest

from segue.base.extras import import_extra
from segue.errors import PlanError


def test_a_library_that_is_there_is_imported():
    assert import_extra("json.decoder", "--json").JSONDecoder


def test_a_library_that_is_missing_is_one_line_with_the_command():
    with pytest.raises(PlanError) as error:
        import_extra("skimage_missing.measure", "--measure")
    assert (
        error.value.where == "--measure" and error.value.next_step == 'pip install "segue[labels]"'
    )
    assert "scikit-image_missing is not installed" in error.value.message
