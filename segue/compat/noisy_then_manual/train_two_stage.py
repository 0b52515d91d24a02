"""Train on the algorithm's labels, then on those made by hand: both stages, or one of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stage_config import Config, pairs, read
from stage_files import FINAL
from stage_run import check, evaluate, launch, train

from segue.cli.app import guarded
from segue.compat.common import at_least
from segue.errors import PlanError, show

# keys that cannot be the same in both stages
OWN = ("OUTPUT_DIR", "DATASETS.TRAIN", "DATASETS.TEST")


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
    parser.add_argument("--resume", action="store_true", help="no new run beside an unfinished one")
    parser.add_argument("--eval-only", action="store_true", help="the figures of what is trained")
    parser.add_argument("--stage1-config", type=Path, default=Path("stage1_config.yaml"))
    parser.add_argument("--stage2-config", type=Path, default=Path("stage2_config.yaml"))
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="such as SOLVER.MAX_ITER 1500"
    )
    return parser.parse_args()


def command() -> None:
    args = parse()
    configs = read_stages(args)
    if args.eval_only:
        for number, config in configs.items():
            show(f"stage {number}")
            evaluate(config, dict(pairs(args.opts)).get("MODEL.WEIGHTS"))
        return
    check(configs.values(), args.num_gpus)
    launch(args.num_gpus)
    for number, config in configs.items():
        train(config, f"stage {number}", args.resume, args.num_gpus)


def read_stages(args: argparse.Namespace) -> dict[int, Config]:
    """The configurations of the stages to run. Stage 2 starts from stage 1, unless it alone is
    given other weights.

    Raises:
        PlanError: if a key for both cannot be the same in both.
    """
    given = pairs(args.opts)
    both = [key for key, _ in given if key in OWN]
    if both and args.stage is None:
        raise PlanError(
            f"--opts {both[0]}", "for both stages", "one stage with it", "--stage 1 or --stage 2"
        )
    given += [("DATASETS.ROOT", str(args.dataset))] if args.dataset else []
    first = read(beside(args.stage1_config), given if args.stage != 2 else [])
    if args.stage == 1:
        return {1: first}
    own = [(key, value) for key, value in given if args.stage == 2 or key != "MODEL.WEIGHTS"]
    if not any(key == "MODEL.WEIGHTS" for key, _ in own):
        own.append(("MODEL.WEIGHTS", str(first.OUTPUT_DIR / FINAL)))
    second = read(beside(args.stage2_config), own)
    return {2: second} if args.stage == 2 else {1: first, 2: second}


def beside(path: Path) -> Path:
    """A file here, or else the one of that name that comes with this command."""
    return path if path.is_file() or path.is_absolute() else Path(__file__).parent / path


if __name__ == "__main__":
    sys.exit(guarded(command, Path(__file__).name))
