"""segue label pick: what it says about a model, and about folders, that nothing can be picked with
or from.
"""

from __future__ import annotations

from segue.cli.app import main
from tests.labelling.one_eyed import RED, paint, saved


def test_a_model_that_is_blind_to_most_images_is_said_and_one_that_is_to_all_is_refused(
    tmp_path, capsys
):
    checkpoint = saved(tmp_path / "selected")
    for name in "abc":
        paint(
            tmp_path / "images" / f"{name}.png",
            *([(30, 40, 9, RED)] if name == "a" else []),
            grey=ord(name) % 7,
        )
    arguments = [
        "label",
        "pick",
        str(tmp_path / "images"),
        "--count",
        "1",
        "--checkpoint",
        str(checkpoint),
        "--out",
    ]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert (
        "warning: the model finds nothing above 0.5 in 2 of 3 images: train longer, lower "
        "--threshold" in said
    )
    (tmp_path / "images" / "a.png").unlink()
    assert main([*arguments, str(tmp_path / "none")]) == 2
    assert (
        "nothing above 0.5 in 2 of 2 images; expected objects to correct; next: train"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_not_there_is_said_first(tmp_path, capsys):
    assert main(["label", "pick", str(tmp_path / "nowhere"), "--count", "3"]) == 2
    assert "nowhere: no such file or folder; expected images" in capsys.readouterr().err
