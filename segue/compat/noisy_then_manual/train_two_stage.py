"""Train on the algorithm's labels, then on those made by hand: both stages, or one of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from segue.compat.flags import at_least
from segue.compat.noisy_then_manual.config import Config, pairs, read
from segue.compat.noisy_then_manual.files import FINAL
from segue.compat.noisy_then_manual.run import check, evaluate, launch, train
from segue.errors import PlanError, show

# keys that cannot be the same in both stages
STAGES_OWN = ("OUTPUT_DIR", "DATASETS.TRAIN", "DATASETS.TEST")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--stage", type=int, choices=(1, 2), help="both, one after the other, if left out"
    )
    parser.add_argument(
        "--dataset", type=Path, help="images/ and annotations/; DATASETS.ROOT, else myotube_dataset"
    )
    parser.add_argument(
        "--num-gpus", type=at_least(1), default=1, help="as many processes, together one step"
    )
    parser.add_argument(
        "--resume", action="store_true", help="no new run next to an unfinished one"
    )
    parser.add_argument("--eval-only", action="store_true", help="the figures of what is trained")
    parser.add_argument("--stage1-config", type=Path, default=Path("stage1_config.yaml"))
    parser.add_argument("--stage2-config", type=Path, default=Path("stage2_config.yaml"))
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="such as SOLVER.MAX_ITER 1500"
    )
    return parser.parse_args()


def command(configs: Path) -> None:
    """configs: the folder of the configurations that are read where there are none here."""
    args = parse()
    stages = read_stages(args, configs)
    if args.eval_only:
        for number, config in stages.items():
            show(f"stage {number}")
            evaluate(config, dict(pairs(args.opts)).get("MODEL.WEIGHTS"))
        return
    check(stages.values(), args.num_gpus)
    launch(args.num_gpus)
    for number, config in stages.items():
        train(config, f"stage {number}", args.resume, args.num_gpus)


def read_stages(args: argparse.Namespace, configs: Path) -> dict[int, Config]:
    """The configurations of the stages to run. Stage 2 starts from stage 1, unless it alone is
    given other weights.

    Raises:
        PlanError: if a key for both cannot be the same in both.
    """
    given = pairs(args.opts)
    both = [key for key, _ in given if key in STAGES_OWN]
    if both and args.stage is None:
        raise PlanError(
            f"--opts {both[0]}", "for both stages", "one stage with it", "--stage 1 or --stage 2"
        )
    given += [("DATASETS.ROOT", str(args.dataset))] if args.dataset else []
    first = read(config_file(args.stage1_config, configs), given if args.stage != 2 else [])
    if args.stage == 1:
        return {1: first}
    second_keys = [pair for pair in given if args.stage == 2 or pair[0] != "MODEL.WEIGHTS"]
    if not any(key == "MODEL.WEIGHTS" for key, _ in second_keys):
        second_keys.append(("MODEL.WEIGHTS", str(first.OUTPUT_DIR / FINAL)))
    second = read(config_file(args.stage2_config, configs), second_keys)
    return {2: second} if args.stage == 2 else {1: first, 2: second}


def config_file(path: Path, configs: Path) -> Path:
    """A file here, or else the one of that name that comes with this command."""
    return path if path.is_file() or path.is_absolute() else configs / path
