"""The verbs below `segue head`: the class heads of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from segue.errors import show

head = App(name="head", help="Class heads of a checkpoint: keep some classes, or strip the heads.")


@head.command
def keep(source: Path, target: Path, *classes: str) -> None:
    """Write a checkpoint whose heads have only these classes, in this order; their scores stay the
    same.
    """
    from segue.cli.commands.head import keep_classes

    show(keep_classes(source, target, classes))


@head.command
def strip(source: Path, target: Path) -> None:
    """Write a checkpoint without class heads; a stage that starts from it gets fresh ones."""
    from segue.cli.commands.head import strip_heads

    show(strip_heads(source, target))
