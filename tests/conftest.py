"""Data and plans that the tests share.

Everything is rendered here; shared sample data are used only where present.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# before torch is there: the processes that tests start inherit it, too
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
import yaml
from torchvision.transforms.v2.functional import _geometry

from segue.data.synthetic import render_dataset

Promise = Callable[[str, int, str], None]  # row of docs/trust.md, how many, of what

ROOT = Path(__file__).parent.parent
# Small real data sets, if they lie next to the checkout; never committed.
SAMPLES = Path(os.environ.get("SEGUE_SAMPLE_DATA", ROOT.parent / "shared" / "data"))

warnings.filterwarnings("ignore", category=FutureWarning)
# two that share cores wait for each other
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 training, 5 validation and 3 test images of 96 px; some empty."""
    return render_dataset(
        tmp_path_factory.mktemp("rendered"), {"train": 16, "valid": 5, "test": 3}, side=96, seed=3
    )


@pytest.fixture(scope="session")
def short_run(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector, and masks on it, of one epoch each: the folder of a finished run, to be read."""
    from tests.toy import run  # which needs this module

    folder = tmp_path_factory.mktemp("predict")
    return run(toy_plan(rendered, folder, detector={"epochs": 1}, masks={"epochs": 1}))


@pytest.fixture(scope="session")
def picture(rendered: Path) -> Path:
    """One of the rendered test images."""
    return next((rendered / "test").glob("*.png"))


@pytest.fixture(scope="module")
def resized_as_bytes() -> Iterator[None]:
    """What was recorded holds on every processor, if its images are resized as where it was.

    Without AVX2 torchvision resizes them in floating point: one value in five differs by one level
    of 255, and losses by up to 4 % after eight steps.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_geometry, "_do_native_uint8_resize_on_cpu", lambda _: True)
        yield


@pytest.fixture
def sample_data():
    """The folder of a real data set by name; the test is skipped, with a word, where it is
    absent.
    """

    def find(name: str) -> Path:
        if not (SAMPLES / name).is_dir():
            pytest.skip(f"no sample data {name} next to the checkout")
        return SAMPLES / name

    return find


@pytest.fixture
def promise(record_property: Callable[[str, object], None]) -> Callable[[str, int, str], None]:
    """Counts, for a row of docs/trust.md, what a test injected; said last: `promise("P1", 50,
    "kills")`.
    """

    def kept(row: str, injected: int, what: str) -> None:
        record_property("promise", f"{row}|{injected}|{what}")

    return kept


def toy_plan(data: Path, runs: Path, **changes: Any) -> dict[str, Any]:
    """Two stages of a tiny model: a few seconds altogether.

    Keys `detector` and `masks` change the stages.
    """
    detector = {"name": "detector", "task": "boxes", "epochs": 2, **changes.pop("detector", {})}
    masks = {
        "name": "masks",
        "task": "masks",
        "freeze": "decoder",
        "fresh": ["mask_head"],
        "epochs": 2,
    }
    masks |= changes.pop("masks", {})
    common = {"images_per_step": 8, "workers": 0, "optimizer": {"lr": 1e-3, "clip": 1.0}}
    plan = {
        "name": "toy",
        "device": "cpu",
        "data": {"root": str(data)},
        "runs": str(runs),
        "model": {"size": "pico", "resolution": 64, "queries": 30, "groups": 2},
        "stages": [{**common, **detector}, {**common, **masks}],
    }
    return {**plan, **changes}


def write_plan(path: Path, plan: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


def segue(
    *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "segue", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
