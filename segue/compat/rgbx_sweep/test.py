"""Measure --model on the test split, and draw what it finds there: result_batch_i_img_j.png, ground
truth next to predictions.
"""

from __future__ import annotations

from segue.compat.rgbx_sweep.scores import data_for, draw_results, open_model, scores
from segue.compat.rgbx_sweep.single_flags import parse
from segue.errors import show


def command() -> None:
    args = parse(__doc__, {"results_dir", "vis"})
    predictor = open_model(args.model, args.backbone, args.device)
    data = data_for(predictor, args)
    records = data.splits["test"].records
    metrics = scores(predictor, data, args.batch_size)
    show(f"{args.model}: {len(records)} test images")
    for name, value in metrics.figures().items():
        show(f"{name:16} " + (f"{value:.4f}" if value >= 0 else "-"))
    for name, value in metrics.by_class("box").items():
        show(f"AP of {name}: {value:.4f}")
    drawn = draw_results(predictor, records, args.results_dir, args.batch_size, args.vis)
    show(f"{drawn} drawings in {args.results_dir}")
