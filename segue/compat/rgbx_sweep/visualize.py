"""Draw sample --vis of the data: its ground truth, each further channel, and what --model finds, if
there is such a file.
"""

from __future__ import annotations

from segue.compat.common import plan_errors
from segue.compat.rgbx_sweep.plan import channels_of, data_of
from segue.compat.rgbx_sweep.scores import drawn, open_model
from segue.compat.rgbx_sweep.single_flags import parse
from segue.data.dataset import Data, read_splits
from segue.data.records import refuse_errors
from segue.errors import DataError, show


def command() -> None:
    args = parse(__doc__, {"results_dir", "vis"})
    with plan_errors("command line", Data):
        data = data_of(args, channels_of(args)).model_copy(update={"split": None})
    splits = read_splits(data)
    refuse_errors(
        [problem for split in splits.values() for problem in split.problems],
        f"segue check {args.data}",
    )
    records = [record for split in splits.values() for record in split.records]
    number = args.vis or 0
    if number >= len(records):
        raise DataError(f"--vis {number}", f"{len(records)} images", f"0 to {len(records) - 1}")
    predictor = open_model(args.model, args.backbone, args.device) if args.model.is_file() else None
    classes = tuple(dict.fromkeys(name for split in splits.values() for name in split.categories))
    args.results_dir.mkdir(parents=True, exist_ok=True)
    target = args.results_dir / f"sample_{number}.png"
    channels = predictor.chain.spec.channels if predictor is not None else data.channels
    drawn(predictor, records[number], channels, classes).save(target)
    shown = (
        "with what the model finds"
        if predictor is not None
        else f"without a model: no {args.model}"
    )
    show(
        f"{target}: {records[number].image.name}, {len(records[number].annotations)} objects, "
        f"{shown}"
    )
