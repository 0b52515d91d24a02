"""How good labels from nothing are: F1 at IoU 0.5 against known ground truth, and of simpler ways.

    python benchmarks/labels.py [--nuclei FOLDER] [--fields 20] [--side 800] [--overlays FOLDER]

Nuclei: a data set with manual masks (nuclei-28: 14 fluorescence images, 14 of stained tissue on a
bright background), blobs with default settings against a global threshold (Otsu). Fields: rendered
tubes, 15 to 40 in each, seeds from 0 (settings were chosen on others, from 1000); against Otsu, and
against the same without joining. An object is found if an optimal one-to-one assignment gives it
one with IoU above 0.5. `mean` is over images, `pooled` over all objects.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rendered_fields import Drawn, render_field
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage import filters

from segue.data.dataset import Data, read_splits
from segue.data.images import image_io as image_files
from segue.data.records import Record
from segue.evaluation.overlay import as_picture
from segue.labelling import kinds
from segue.labelling.auto import LabelJob, find, read_any
from segue.labelling.kinds import Shape, blobs, tubes
from segue.labelling.kinds._planes import clearest
from segue.labelling.pictures import draw_shapes
from segue.structures.masks import Polygon, bitmap

DARK_BELOW = 100  # mean grey value: fluorescence is below, stained tissue above


@dataclass(frozen=True, slots=True)
class Score:
    """One image: how many objects it has, how many were detected, and how many of these match; the
    share of true overlap that is kept; whether the image was doubtful.
    """

    group: str
    true: int
    detected: int
    matched: int
    overlap: float
    doubtful: bool = False

    @property
    def f1(self) -> float:
        return 2 * self.matched / max(self.true + self.detected, 1)


def score(
    group: str, detected: Sequence[Shape | Drawn], truth: Sequence[Shape | Drawn], doubt: str = ""
) -> Score:
    """Detected objects against the true ones of an image."""
    ious = np.zeros((len(detected), len(truth)))
    for row, shape in enumerate(detected):
        ious[row] = [iou(shape, other) for other in truth]
    rows, columns = linear_sum_assignment(-np.where(ious > 0.5, ious, 0))
    shared, kept = covers(truth), covers(detected)
    both = sum(1 for pixel, count in shared.items() if count > 1 and kept.get(pixel, 0) > 1)
    overlap = both / max(sum(count > 1 for count in shared.values()), 1)
    return Score(
        group,
        len(truth),
        len(detected),
        int((ious[rows, columns] > 0.5).sum()),
        overlap,
        bool(doubt),
    )


def iou(first: Shape | Drawn, second: Shape | Drawn) -> float:
    x0, y0 = max(first.x, second.x), max(first.y, second.y)
    x1 = min(first.x + first.mask.shape[1], second.x + second.mask.shape[1])
    y1 = min(first.y + first.mask.shape[0], second.y + second.mask.shape[0])
    if x1 <= x0 or y1 <= y0:
        return 0.0
    bits = [
        shape.mask[y0 - shape.y : y1 - shape.y, x0 - shape.x : x1 - shape.x]
        for shape in (first, second)
    ]
    both = int((bits[0] & bits[1]).sum())
    return both / (int(first.mask.sum()) + int(second.mask.sum()) - both)


def covers(shapes: Sequence[Shape | Drawn]) -> dict[tuple[int, int], int]:
    """How many objects each covered pixel belongs to."""
    counts: dict[tuple[int, int], int] = {}
    for shape in shapes:
        for y, x in np.argwhere(shape.mask).tolist():
            at = (y + shape.y, x + shape.x)
            counts[at] = counts.get(at, 0) + 1
    return counts


def by_otsu(image: np.ndarray) -> list[Drawn]:
    """What a global threshold shows, in the plane and polarity that segue chooses, without specks
    of 16 pixels.
    """
    plane = ndimage.gaussian_filter(clearest(image).values, 1)
    labels, _ = ndimage.label(plane > filters.threshold_otsu(plane))
    windows = ndimage.find_objects(labels)
    cut = [
        Drawn(w[1].start, w[0].start, labels[w] == number) for number, w in enumerate(windows, 1)
    ]
    return [shape for shape in cut if shape.mask.sum() > 16]


def truth_of(record: Record) -> list[Drawn]:
    truth = []
    for annotation in record.annotations:
        assert annotation.mask is not None and not isinstance(annotation.mask, Polygon)
        bits, x, y = bitmap(annotation.mask)
        truth.append(Drawn(x, y, bits))
    return truth


def nuclei(root: Path, overlays: Path | None) -> dict[str, list[Score]]:
    """Scores of all images of a data set with manual masks."""
    rows: dict[str, list[Score]] = {"Otsu": [], "segue": []}
    job = LabelJob(kinds.get("blobs"), blobs.Settings(), "nucleus")
    for split in read_splits(Data(root=root)).values():
        for record in split.records:
            pixels, truth = read_any(record.image), truth_of(record)
            group = "fluorescence" if pixels.float().mean() < DARK_BELOW else "bright background"
            finding = find(pixels, job, None)
            rows["segue"].append(score(group, finding.shapes, truth, finding.doubt))
            rows["Otsu"].append(score(group, by_otsu(pixels.permute(1, 2, 0).numpy()), truth))
            _show(overlays, record.image.name, image_files.read(record.image), finding.shapes)
    return rows


def fields(count: int, side: int, overlays: Path | None) -> dict[str, list[Score]]:
    """Scores of rendered fields of tubes."""
    rows: dict[str, list[Score]] = {"Otsu": [], "segue, nothing joined": [], "segue": []}
    for seed in range(count):
        rng = np.random.default_rng(seed)
        field, truth = render_field(rng, side, "tubes", int(rng.integers(15, 41)))
        pixels = torch.from_numpy(np.rint(field * 4095).astype(np.uint16))[None]
        for name, settings in (
            ("segue", tubes.Settings()),
            ("segue, nothing joined", tubes.Settings(gap=0)),
        ):
            finding = find(pixels, LabelJob(kinds.get("tubes"), settings, "tube"), None)
            rows[name].append(score("tubes", finding.shapes, truth, finding.doubt))
            if name == "segue":
                _show(overlays, f"tubes-{seed}.png", pixels, finding.shapes)
        rows["Otsu"].append(score("tubes", by_otsu(pixels.permute(1, 2, 0).numpy()), truth))
    return rows


def _show(overlays: Path | None, name: str, pixels: torch.Tensor, shapes: Sequence[Shape]) -> None:
    if overlays:
        overlays.mkdir(parents=True, exist_ok=True)
        picture: Image.Image = draw_shapes(as_picture(pixels), shapes)
        picture.save(overlays / name)


def table(rows: dict[str, list[Score]], with_overlap: bool) -> str:
    lines = [
        "| | images | F1 mean | F1 pooled |"
        + (" overlap kept |" if with_overlap else " doubtful | F1 mean of the rest |")
    ]
    lines.append("|---|" + "---:|" * (4 if with_overlap else 5))
    for name, scores in rows.items():
        groups = dict.fromkeys([*(score.group for score in scores), "all"])
        for group in groups if len(groups) > 2 else ["all"]:
            chosen = [score for score in scores if group in ("all", score.group)]
            pooled = 2 * sum(s.matched for s in chosen) / sum(s.true + s.detected for s in chosen)
            line = (
                f"| {name}, {group} | {len(chosen)} | {np.mean([s.f1 for s in chosen]):.3f} | "
                f"{pooled:.3f} |"
            )
            rest = [s.f1 for s in chosen if not s.doubtful]
            if with_overlap:
                line += f" {np.mean([s.overlap for s in chosen]):.3f} |"
            else:
                line += f" {len(chosen) - len(rest)} | {np.mean(rest):.3f} |"
            lines.append(line)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(__file__).parent.parent.parent / "shared" / "data" / "nuclei-28"
    parser.add_argument("--nuclei", type=Path, default=shared)
    parser.add_argument("--fields", type=int, default=20)
    parser.add_argument("--side", type=int, default=800)
    parser.add_argument("--overlays", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results = {"tubes": fields(args.fields, args.side, args.overlays)} if args.fields else {}
    if args.nuclei.is_dir():
        results["nuclei"] = nuclei(args.nuclei, args.overlays)
    for name, rows in results.items():
        print(f"\n{name}\n\n{table(rows, with_overlap=name == 'tubes')}")
    if args.json:
        print(
            json.dumps(
                {
                    n: {k: [asdict(s) for s in v] for k, v in rows.items()}
                    for n, rows in results.items()
                }
            )
        )


if __name__ == "__main__":
    main()
