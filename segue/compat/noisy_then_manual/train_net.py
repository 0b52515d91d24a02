"""Train one stage, or evaluate it: a configuration file and KEY VALUE pairs, as Mask2Former's own
command has them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segue.compat.flags import at_least
from segue.compat.noisy_then_manual.config import pairs, read
from segue.compat.noisy_then_manual.run import check, evaluate, launch, train
from segue.errors import PlanError


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument(
        "--eval-only",
        action="store_true",
        help="the figures of what is trained, or of MODEL.WEIGHTS",
    )
    parser.add_argument(
        "--resume", action="store_true", help="no new run next to an unfinished one"
    )
    parser.add_argument(
        "--num-gpus", type=at_least(1), default=1, help="of each machine; as many processes"
    )
    parser.add_argument("--num-machines", type=at_least(1), default=1)
    parser.add_argument(
        "--machine-rank", type=at_least(0), default=0, help="which of them this one is, from 0"
    )
    parser.add_argument("--dist-url", help="tcp://HOST:PORT of machine 0")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="such as SOLVER.MAX_ITER 1500")
    return parser.parse_args()


def command() -> None:
    args = parse()
    given = pairs(args.opts)
    config = read(args.config_file, given)
    if args.eval_only:
        evaluate(config, dict(given).get("MODEL.WEIGHTS"))
        return
    check([config], args.num_gpus)
    launch(args.num_gpus, machines(args))
    train(config, str(args.config_file), args.resume, args.num_gpus)


def machines(args: argparse.Namespace) -> list[str]:
    """torchrun's arguments for several machines.

    Raises:
        PlanError: if they cannot find each other.
    """
    if args.num_machines == 1:
        return []
    if not (args.dist_url or "").startswith("tcp://") or args.machine_rank >= args.num_machines:
        message = f"{args.dist_url}, machine {args.machine_rank} of {args.num_machines}"
        raise PlanError(
            "--dist-url", message, "tcp://HOST:PORT of machine 0, and --machine-rank 0, 1, ..."
        )
    host, _, port = args.dist_url.removeprefix("tcp://").partition(":")
    address = [f"--master-addr={host}", f"--master-port={port or 29500}"]
    return [f"--nnodes={args.num_machines}", f"--node-rank={args.machine_rank}", *address]
