"""`segue predict`: objects in a folder of images, as pictures, as files for other programs, and as
numbers.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from segue import models
from segue.base.extras import import_extra
from segue.base.files import write_json
from segue.data.images.pixel_size import pixel_size_um
from segue.data.images.value_range import ValueRange
from segue.errors import DataError, PlanError
from segue.evaluation.overlay import as_picture, draw_detections
from segue.inference.loading import load
from segue.inference.measure import as_csv, columns, measurements
from segue.inference.outputs import write_labels, write_rois
from segue.inference.predict import Predictor, pictures_in
from segue.inference.refine import Refine, Step, refine, settings_of, summary
from segue.inference.tiles import Tiling, predict_file
from segue.run.console import Console
from segue.structures.detections import Detections

OUTPUTS = ("overlays", "coco", "labels", "rois", "measurements")
OURS = ("predictions.coco.json", "measurements.csv", "*.labels.tif", "*.RoiSet.zip")


@dataclass(frozen=True)
class PredictOptions:
    """What is done beside finding objects.

    um_per_px: of all images; None takes what each file says.
    """

    tile: str | None = None
    grid: str | None = None
    overlap: float = 0.25
    refine: Refine = Refine()
    um_per_px: float | None = None
    outputs: tuple[str, ...] = OUTPUTS[:2]

    @classmethod
    def of(
        cls,
        *,
        tile: str | None,
        grid: str | None,
        overlap: float,
        refine: Sequence[str],
        um_per_px: float | None,
        write: str,
    ) -> PredictOptions:
        """From the words of the command line: `refine` as name=value, `write` joined by commas.

        Raises:
            PlanError: if one of them is unknown or out of range, or needs a library that is not
                installed.
        """
        outputs = tuple(word.strip() for word in write.split(","))
        for word in outputs:
            if word not in OUTPUTS:
                raise PlanError("--write", f"'{word}'", "some of " + ",".join(OUTPUTS))
        # A missing library is an error now, not after the first image.
        if "measurements" in outputs:
            import_extra("skimage", "measurements")
        if "rois" in outputs:
            import_extra("roifile", "regions")
        if um_per_px is not None and not 0 < um_per_px < 1e6:
            raise PlanError("--scale", f"{um_per_px:g}", "micrometres per pixel, above 0")
        return cls(tile, grid, overlap, settings_of(refine), um_per_px, outputs)

    def tiling(self, predictor: Predictor) -> Tiling:
        """Raises PlanError if tile or grid cannot be understood."""
        grid = None
        if self.grid is not None:
            rows, _, columns = self.grid.partition("x")
            if not (rows.isdecimal() and columns.isdecimal()):
                raise PlanError("--grid", f"'{self.grid}'", "rows x columns, such as 2x3")
            grid = int(rows), int(columns)
        return Tiling(side_of(self.tile, predictor), grid, self.overlap)


def side_of(tile: str | None, predictor: Predictor) -> int | None:
    """The side of tiles in pixels, as --tile says; `auto` is that of the model's input, None if
    there are none.

    Raises:
        PlanError: if it cannot be understood.
    """
    if tile is None:
        return None
    spec = predictor.chain.spec
    side = max(models.get(spec.family).input_size(spec))
    if tile != "auto" and not tile.isdecimal():
        raise PlanError("--tile", f"'{tile}'", f"pixels, or auto (for this model {side})")
    return side if tile == "auto" else int(tile)


def predict_to_folder(
    checkpoint: Path,
    images: Path,
    out: Path,
    threshold: float,
    device: str,
    options: PredictOptions | None = None,
) -> Path:
    """Find objects and write what is wanted; returns the path of the COCO file, or of the folder
    without one.

    Files of an image keep the folders of the images. The COCO file is complete in itself: images,
    categories (ids from the training data where the checkpoint knows them) and annotations with
    scores.

    Raises:
        DataError: if images cannot be read; everything is written for the others first, and each
        broken one said.
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
    results = _Results(predictor, out, options)
    console = Console()
    broken: list[DataError] = []
    with console.progress("predicting") as tick:
        for number, path in enumerate(paths, 1):
            tick(number, len(paths))
            try:
                pixels, found = predict_file(predictor, path, tiling, threshold)
            except DataError as error:
                broken.append(error)
                continue
            name = path.relative_to(root)
            scale = options.um_per_px or pixel_size_um(path)
            found, steps = refine(found, options.refine, scale)
            base = (
                name.with_suffix("").as_posix()
                if stems[path.with_suffix("")] == 1
                else name.as_posix()
            )
            results.add(name.as_posix(), found, steps)
            results.value_range.update(pixels)
            results.write(out / base, name.as_posix(), pixels, found, scale)
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
        _stale(out, began),
    ):
        if line:
            console.say(line)
    _refuse(broken, images, len(paths))
    return written


def _stale(out: Path, began: int) -> str:
    """What to say of files that were there before: they may be of other images, or of another
    threshold.
    """
    older = sorted(
        path for name in OURS for path in out.rglob(name) if path.stat().st_mtime_ns < began
    )
    return (
        f"{len(older)} files of an earlier predict stay in {out} (first: {older[0].name})"
        if older
        else ""
    )


def _nothing(highest: float, threshold: float, results: _Results) -> str:
    """What to say where no image has an object that is above the threshold."""
    if results.objects or highest >= threshold:
        return ""
    lower = f"{highest * 2 / 3:.1g}"
    seen = (
        f"the highest score is {highest:.2g}: train longer, or --threshold {lower}"
        if highest
        else "no score is above 0: train longer"
    )
    return f"nothing above {threshold:g} in {len(results.images)} images; {seen}"


def _refuse(broken: Sequence[DataError], images: Path, count: int) -> None:
    """Say each image of `count` that could not be read, and that there were some.

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


@dataclass
class _Results:
    """What is collected over all images, and the files of each."""

    predictor: Predictor
    out: Path
    options: PredictOptions
    images: list[dict] = field(default_factory=list)
    annotations: list[dict] = field(default_factory=list)
    records: dict[str, list[Step]] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    objects: int = 0

    def __post_init__(self) -> None:
        known = self.predictor.card.data.get("classes", {})
        names = self.predictor.class_names
        self.ids = tuple(known.get(name, number) for number, name in enumerate(names, 1))
        self.value_range = ValueRange(self.predictor.chain.spec.channels)

    def add(self, name: str, found: Detections, steps: list[Step]) -> None:
        number, (height, width) = len(self.images) + 1, found.size
        self.objects += len(found)
        self.images.append({"id": number, "file_name": name, "height": height, "width": width})
        self.records[name] = steps
        if "coco" in self.options.outputs:
            for entry in found.to_coco(number, self.ids):
                self.annotations.append({"id": len(self.annotations) + 1, **entry})

    def write(
        self, base: Path, name: str, pixels: Tensor, found: Detections, scale: float | None
    ) -> None:
        """The files of one image, whose names begin with `base`."""
        outputs = self.options.outputs
        base.parent.mkdir(parents=True, exist_ok=True)
        if "overlays" in outputs:
            draw_detections(as_picture(pixels, self.predictor.chain.spec.channels), found).save(
                f"{base}.png"
            )
        if "labels" in outputs:
            write_labels(Path(f"{base}.labels.tif"), found)
        if "rois" in outputs:
            write_rois(Path(f"{base}.RoiSet.zip"), found)
        if "measurements" in outputs:
            channels = [channel.name for channel in self.predictor.chain.spec.channels]
            self.rows += [
                {"image": name, **row} for row in measurements(found, pixels, channels, scale)
            ]

    def finish(self) -> Path:
        """The files over all images."""
        done = summary(self.options.refine, self.records)
        if done["steps"]:
            write_json(self.out / "postprocess.json", done)
        if "measurements" in self.options.outputs:
            channels = [channel.name for channel in self.predictor.chain.spec.channels]
            header = columns(channels, self.options.um_per_px)
            (self.out / "measurements.csv").write_text(as_csv(self.rows, header), encoding="utf-8")
        if "coco" not in self.options.outputs:
            return self.out
        names = self.predictor.class_names
        content = {
            "info": {
                "description": "predicted by segue",
                "postprocess": {k: done[k] for k in ("settings", "steps")},
            },
            "images": self.images,
            "categories": [
                {"id": number, "name": name} for number, name in zip(self.ids, names, strict=True)
            ],
            "annotations": self.annotations,
        }
        return write_json(self.out / "predictions.coco.json", content)
