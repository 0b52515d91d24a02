"""Tests mirror the rooms of the package: what holds of segue/data/formats/voc.py is tested in
tests/data/formats/test_voc.py.
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import ROOT

PACKAGE, TESTS = ROOT / "segue", ROOT / "tests"
# Modules without a test file of their name -> what tests them, below tests/, and why there. An
# entry
# that ends in / is a folder.
ELSEWHERE = {
    "base/plugins.py": "contracts/test_plugins.py: what a user's module has to have is a promise",
    "cli/app.py": "contracts/test_cli.py: verbs, their help and what importing them costs",
    "cli/data.py": "cli/commands/data: flags of `segue data`, handed on",
    "cli/head.py": "cli/commands/test_head.py: flags of `segue head`, handed on",
    "cli/label.py": "labelling: flags of `segue label`, handed on",
    "cli/commands/bad_step.py": "faults/test_not_finite.py: needs a step that went wrong",
    "cli/commands/check.py": "contracts/test_cli.py: says what data, models and hand-overs say",
    "cli/commands/data/audit.py": "faults/test_audit.py: needs the corpus of planted defects",
    "cli/commands/demo.py": "contracts/test_cli.py: trains",
    "cli/commands/label/": "labelling: the commands hand flags to segue/labelling",
    "cli/commands/prediction_files.py": "inference/test_outputs.py: all files of one prediction",
    "cli/commands/report.py": "sweep/test_runner.py: needs runs that were trained",
    "cli/commands/sweep.py": "sweep/test_runner.py: trains",
    "compat/detector_then_masks/": "compat/detector_then_masks/test_scripts.py: run as typed",
    "compat/noisy_then_manual/": "compat/noisy_then_manual/test_scripts.py: run as typed",
    "compat/rgbx_sweep/": "compat/rgbx_sweep/test_scripts.py: run as typed",
    "compat/thaw/": "compat/thaw/test_scripts.py: run as typed",
    "data/audit/coco.py": "faults/test_audit.py: every kind of defect, planted",
    "data/audit/dataset.py": "faults/test_audit.py: every kind of defect, planted",
    "data/formats/cvat.py": "data/formats/test_exchange.py: three formats of one table of shapes",
    "data/formats/labelme.py": "data/formats/test_exchange.py: the same table",
    "data/formats/via.py": "data/formats/test_exchange.py: the same table",
    "data/writing/merge.py": "cli/commands/data/test_merge.py: exact counts of what is merged",
    "evaluation/audit_page.py": "faults/test_audit.py: needs the corpus of planted defects",
    "evaluation/report.py": "run/test_runner.py: needs a run that was trained",
    "inference/speed.py": "sweep/test_runner.py: needs models that were trained",
    "labelling/label_files.py": "labelling/test_auto.py: what labelling writes",
    "labelling/sheet.py": "labelling/test_auto.py: what labelling writes",
    "models/family.py": "contracts/test_plugins.py: what a family has to have is a promise",
    "models/parts/regions.py": "parity/test_rgbx_rcnn.py: equal to torchvision's",
    "models/weights/arrays.py": "parity/test_mask2former.py: detectron2's own files",
    "models/weights/detr.py": "parity/test_detr.py: DETR's own files",
    "models/weights/foreign.py": "faults/test_hostile.py: files that try to do harm",
    "models/weights/mask2former.py": "parity/test_mask2former.py: Mask2Former's own files",
    "models/weights/rfdetr.py": "parity/test_rfdetr_package.py: the package's own files",
    "models/weights/segformer.py": "parity/test_rgbx_rcnn.py: transformers' own files",
    "run/batches.py": "training/test_cache.py: what a cache serves, and until when",
    "run/build.py": "run/test_runner.py: all that a stage is built from",
    "training/bad_step.py": "faults/test_not_finite.py: needs a step that went wrong",
    "training/resume.py": "faults/test_kill.py: needs runs that were killed",
}


def has_logic(path: Path) -> bool:
    """Whether a module defines functions or methods: others are data, types and doors."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return any(isinstance(node, functions) for node in ast.walk(ast.parse(path.read_text())))


def modules() -> list[str]:
    """Modules to be mirrored, by their paths in the package.

    Names with an underscore are details of the modules next to them, which test them; `__init__`
    holds what a folder shows.
    """
    return [
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if not path.name.startswith("_") and has_logic(path)
    ]


def files_testing(module: str) -> list[Path]:
    """Test files of a module: test_<module>.py, and test_<module>_<subject>.py where it has
    many.
    """
    place = (TESTS / module).parent
    return [
        *place.glob(f"test_{Path(module).stem}.py"),
        *place.glob(f"test_{Path(module).stem}_*.py"),
    ]


def entry_of(module: str) -> str | None:
    """The entry of the allow-list that a module comes under."""
    entries = [
        entry
        for entry in ELSEWHERE
        if module == entry or entry.endswith("/") and module.startswith(entry)
    ]
    return entries[0] if entries else None


def unmirrored() -> list[str]:
    return [module for module in modules() if not files_testing(module)]


def test_every_module_has_a_test_file_of_its_name():
    assert len(modules()) > 200 and len(modules()) - len(unmirrored()) > 140
    assert [module for module in unmirrored() if entry_of(module) is None] == []


def test_the_allow_list_is_short_true_and_needed():
    assert len(ELSEWHERE) <= 40
    needed = {entry_of(module) for module in unmirrored()}
    assert [entry for entry in ELSEWHERE if entry not in needed] == []
    places = {entry: reason.split(":")[0] for entry, reason in ELSEWHERE.items()}
    assert {entry: place for entry, place in places.items() if not (TESTS / place).exists()} == {}


def test_every_test_file_lies_in_a_room():
    """Only modules that lie in no room themselves, such as segue/errors.py, have theirs outside."""
    outside = [path.name.removeprefix("test_") for path in TESTS.glob("test_*.py")]
    assert outside and all((PACKAGE / name).is_file() for name in outside)
