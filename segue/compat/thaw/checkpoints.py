"""Opening whatever `checkpoint_path` may be: a segue checkpoint or run, a .ckpt, a .pth, a
transformers folder.
"""

from __future__ import annotations

from pathlib import Path

from segue.compat.common import chosen
from segue.compat.thaw.config import Config
from segue.compat.thaw.plan import model_of, options_of
from segue.errors import PlanError
from segue.inference.loading import from_card, from_weights, load
from segue.inference.predict import Predictor
from segue.run.build import pick_device
from segue.run.opening import open_weights


def open_checkpoint(path: str | None, config: Config, device: str) -> Predictor:
    """The model in a checkpoint, ready to predict. path: the configuration's own if None.

    Raises:
        PlanError: if neither says which.
        CheckpointError: if it cannot be used.
    """
    source = path or config.train.checkpoint_path
    if source is None:
        raise PlanError("--checkpoint", "none, and train.checkpoint_path is null", "one of the two")
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        return load(source, pick_device(device))
    model = model_of(config)
    weights, device = open_weights(source, model), pick_device(device)
    if weights.card is not None:
        return from_card(weights, masks=False, device=device)  # a .ckpt of train.py says all of it
    options = chosen(options_of(config))
    kept = {key: options[key] for key in ("backbone", "resolution") if key in options}
    return from_weights(weights, model.family, model.size, False, device, **kept)
