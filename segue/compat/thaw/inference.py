"""Draw what a checkpoint finds in images, with one of two presets: clean, or debug to see what it
nearly found.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from segue.compat.thaw.checkpoints import open_checkpoint
from segue.compat.thaw.config import read
from segue.data.pipeline.transforms import View
from segue.errors import PlanError, show
from segue.evaluation.overlay import as_picture, draw_detections
from segue.inference.predict import pictures_in
from segue.models.parts.chain import Chain, State
from segue.models.parts.postprocess import best_queries, detections
from segue.structures.detections import Detections


@dataclass(frozen=True)
class Preset:
    """score: least probability of the class.

    background: most probability of "no object". margin: to the next class.
    """

    score: float
    background: float
    margin: float
    boxes: int


PRESETS = {"clean": Preset(0.75, 0.5, 0.2, 12), "debug": Preset(0.25, 0.65, 0.05, 25)}


def parse(default: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "images", type=Path, nargs="?", help="a file or folder; the configuration's val_data_dir"
    )
    parser.add_argument("--config", type=Path, default=default)
    parser.add_argument(
        "--checkpoint", help="the configuration's train.checkpoint_path if left out"
    )
    parser.add_argument("--preset", choices=PRESETS, default="clean")
    parser.add_argument("--out", type=Path, default=Path("outputs/inference"))
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def command(default: Path) -> None:
    """default: the configuration that is read where none is named."""
    args = parse(default)
    config = read(args.config)
    predictor = open_checkpoint(args.checkpoint, config, args.device)
    given = args.images or config.data.val_data_dir
    root = given if given.is_dir() else given.parent
    if args.out.resolve() == root.resolve():
        raise PlanError(
            "--out", f"{args.out} is the folder of the images", "another, so that none is replaced"
        )
    for path in pictures_in(given):
        pixels = predictor.pixels(path)
        detected = find(predictor.chain, pixels, PRESETS[args.preset])
        target = args.out / f"{path.relative_to(root)}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        draw_detections(as_picture(pixels), detected).save(target)
        scored = zip(detected.labels.tolist(), detected.scores.tolist(), strict=True)
        words = [f"{detected.class_names[label]} {score:.2f}" for label, score in scored]
        show(f"{path.name}: {', '.join(words) or 'nothing'}")


@torch.inference_mode()
def find(chain: Chain, pixels: Tensor, preset: Preset) -> Detections:
    """The objects in an image (C, H, W) that pass a preset; of too many, those with the highest
    scores.
    """
    side = chain.spec.options["resolution"]
    framed, _, _ = View(side, side)(pixels, torch.zeros(0, 4), torch.zeros(0, 2), seed=0)
    state = chain.eval()({"images": framed[None].to(next(chain.parameters()).device)})
    scores, margin, background = probabilities(chain, state)
    unclear = (margin < preset.margin) | (background > preset.background)
    chosen = best_queries(scores.masked_fill(unclear[..., None], 0.0), preset.boxes)
    return detections(chain, state, chosen, [(pixels.shape[-2], pixels.shape[-1])])[0].above(
        preset.score
    )


def probabilities(chain: Chain, state: State) -> tuple[Tensor, Tensor, Tensor]:
    """Of each class (B, Q, K), how far the best is ahead of the next, and of "no object" (both (B,
    Q)).

    Conditional DETR asks for each class by itself; there, "no object" is what its best class is
    not.
    """
    logits = state["logits"][:, -1].float()
    plain = logits.shape[-1] > len(chain.spec.classes)
    scores = logits.softmax(-1)[..., :-1] if plain else logits.sigmoid()
    best = scores.topk(min(2, scores.shape[-1]), -1).values
    margin = best[..., 0] - best[..., 1] if best.shape[-1] > 1 else best[..., 0]
    return scores, margin, logits.softmax(-1)[..., -1] if plain else 1 - best[..., 0]
