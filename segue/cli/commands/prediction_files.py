"""The files that `segue predict` writes: which of them, for each image, and over all images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from segue import models
from segue.base.extras import import_extra
from segue.base.files import write_json
from segue.data.images.value_range import ValueRange
from segue.errors import PlanError
from segue.evaluation.overlay import as_picture, draw_detections
from segue.inference.measure import as_csv, columns, measurements
from segue.inference.outputs import write_labels, write_rois
from segue.inference.predict import Predictor
from segue.inference.refine import Refine, Step, settings_of, summary
from segue.inference.tiles import Tiling
from segue.structures.detections import Detections

OUTPUTS = ("overlays", "coco", "labels", "rois", "measurements")
OURS = ("predictions.coco.json", "measurements.csv", "*.labels.tif", "*.RoiSet.zip")


@dataclass(frozen=True)
class PredictOptions:
    """How images are cut, what is done with the detections, and what is written of them.

    tile: pixels, or auto. grid: ROWSxCOLUMNS. overlap: a share of a tile's side. um_per_px: the
    pixel size of all images; None takes what each file says. outputs: some of OUTPUTS.
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
        """The tiling for this model.

        Raises:
            PlanError: if tile, grid or overlap is not understood or out of range.
        """
        grid = None
        if self.grid is not None:
            rows, _, columns = self.grid.partition("x")
            if not (rows.isdecimal() and columns.isdecimal()):
                raise PlanError("--grid", f"'{self.grid}'", "rows x columns, such as 2x3")
            grid = int(rows), int(columns)
        return Tiling(side_of(self.tile, predictor), grid, self.overlap)


def side_of(tile: str | None, predictor: Predictor) -> int | None:
    """The side of tiles in pixels, from the value of --tile; `auto` is the longer side of the
    model's input. None if images are not cut into tiles.

    Raises:
        PlanError: if it is neither a number nor auto.
    """
    if tile is None:
        return None
    spec = predictor.chain.spec
    side = max(models.get(spec.family).input_size(spec))
    if tile != "auto" and not tile.isdecimal():
        raise PlanError("--tile", f"'{tile}'", f"pixels, or auto (for this model {side})")
    return side if tile == "auto" else int(tile)


@dataclass
class PredictionFiles:
    """Collects results over all images, and writes the files of each."""

    predictor: Predictor
    out: Path
    options: PredictOptions
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, list[Step]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    objects: int = 0

    def __post_init__(self) -> None:
        known = self.predictor.card.data.get("classes", {})
        names = self.predictor.class_names
        self.ids = tuple(known.get(name, number) for number, name in enumerate(names, 1))
        self.value_range = ValueRange(self.predictor.chain.spec.channels)

    def add(self, name: str, detections: Detections, steps: list[Step]) -> None:
        """Take an image's detections for the files over all images."""
        number, (height, width) = len(self.images) + 1, detections.size
        self.objects += len(detections)
        self.images.append({"id": number, "file_name": name, "height": height, "width": width})
        self.records[name] = steps
        if "coco" in self.options.outputs:
            for entry in detections.to_coco(number, self.ids):
                self.annotations.append({"id": len(self.annotations) + 1, **entry})

    def write(
        self,
        base: Path,
        name: str,
        pixels: Tensor,
        detections: Detections,
        um_per_px: float | None,
    ) -> None:
        """Write the files of one image, whose names begin with `base`."""
        outputs = self.options.outputs
        base.parent.mkdir(parents=True, exist_ok=True)
        if "overlays" in outputs:
            picture = as_picture(pixels, self.predictor.chain.spec.channels)
            draw_detections(picture, detections).save(f"{base}.png")
        if "labels" in outputs:
            write_labels(Path(f"{base}.labels.tif"), detections)
        if "rois" in outputs:
            write_rois(Path(f"{base}.RoiSet.zip"), detections)
        if "measurements" in outputs:
            channels = [channel.name for channel in self.predictor.chain.spec.channels]
            rows = measurements(detections, pixels, channels, um_per_px)
            self.rows += [{"image": name, **row} for row in rows]

    def finish(self) -> Path:
        """Write the files over all images; returns the COCO file's path, or the folder."""
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


def stale(out: Path, began: int) -> str:
    """A note about files from before: they may be of other images, or of another threshold."""
    older: list[Path] = []
    for name in OURS:
        older += [path for path in out.rglob(name) if path.stat().st_mtime_ns < began]
    older.sort()
    return (
        f"{len(older)} files of an earlier predict stay in {out} (first: {older[0].name})"
        if older
        else ""
    )
