"""`segue predict`: detect objects in a folder of images and write them as pictures, as files for
other programs, and as numbers.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segue.cli.commands.prediction_files import PredictionFiles, PredictOptions, stale
from segue.data.images.pixel_size import pixel_size_um
from segue.errors import DataError, PlanError
from segue.inference.loading import load
from segue.inference.predict import pictures_in
from segue.inference.refine import refine
from segue.inference.tiles import predict_file
from segue.run.console import Console


def predict_to_folder(
    checkpoint: Path,
    images: Path,
    out: Path,
    threshold: float,
    device: str,
    options: PredictOptions | None = None,
) -> Path:
    """Detect objects and write the outputs; returns the path of the COCO file, or the folder if
    no such file is written.

    threshold: the least score, 0..1. Outputs lie in the same subfolders as their images. The COCO
    file is complete in itself: images, categories (ids from the training data where the checkpoint
    knows them) and annotations with scores.

    Raises:
        CheckpointError: if no model can be loaded.
        PlanError: if an option is not understood, or `out` is the folder of the images.
        DataError: if images cannot be read; everything is written for the others first, and each
            broken one is named.
    """
    began, options = time.time_ns(), options or PredictOptions()
    predictor = load(checkpoint, device)
    tiling = options.tiling(predictor)
    channels = predictor.chain.spec.channels
    paths = pictures_in(images, channels)
    root = images if images.is_dir() else images.parent
    if out.resolve() == root.resolve():
        raise PlanError(
            "--out",
            f"{out} is the folder of the images",
            "another folder, so that none is replaced",
        )
    stems = Counter(path.with_suffix("") for path in paths)
    results = PredictionFiles(predictor, out, options)
    console = Console()
    broken: list[DataError] = []
    with console.progress("predicting") as tick:
        for number, path in enumerate(paths, 1):
            tick(number, len(paths))
            try:
                pixels, detections = predict_file(predictor, path, tiling, threshold)
            except DataError as error:
                broken.append(error)
                continue
            name = path.relative_to(root)
            um_per_px = options.um_per_px or pixel_size_um(path)
            detections, steps = refine(detections, options.refine, um_per_px)
            # a.png and a.tif in one folder would write the same files: then the suffix stays
            unique = stems[path.with_suffix("")] == 1
            base = (name.with_suffix("") if unique else name).as_posix()
            results.add(name.as_posix(), detections, steps)
            results.value_range.update(pixels)
            results.write(out / base, name.as_posix(), pixels, detections, um_per_px)
    if len(broken) == len(paths):
        _refuse(broken, images, len(paths))
    console.say(
        f"{results.objects} objects in {len(results.images)} images; {', '.join(options.outputs)} "
        f"in {out}"
    )
    written = results.finish()
    for line in (
        results.value_range.mismatch(),
        _nothing(predictor.highest, threshold, results),
        stale(out, began),
    ):
        if line:
            console.say(line)
    _refuse(broken, images, len(paths))
    return written


def _nothing(highest: float, threshold: float, results: PredictionFiles) -> str:
    """A note for the case that no image has an object above the threshold."""
    if results.objects or highest >= threshold:
        return ""
    lower = f"{highest * 2 / 3:.1g}"
    advice = (
        f"the highest score is {highest:.2g}: train longer, or --threshold {lower}"
        if highest
        else "no score is above 0: train longer"
    )
    return f"nothing above {threshold:g} in {len(results.images)} images; {advice}"


def _refuse(broken: Sequence[DataError], images: Path, count: int) -> None:
    """Name each image, of `count`, that could not be read.

    Raises:
        DataError: if there are any.
    """
    if count == 1 and broken:
        raise broken[0]
    for error in broken:
        sys.stderr.write(f"{error.message}\n")
    if broken:
        raise DataError(
            images,
            f"{len(broken)} of {count} images cannot be read, listed above",
            "undamaged images",
        )
