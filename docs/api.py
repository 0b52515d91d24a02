"""Write docs/api.md from the docstrings of what segue promises to keep: python docs/api.py

`--check` writes nothing, and fails if the page is not what would be written.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import segue
from segue import errors

PAGE = Path(__file__).parent / "api.md"
# Public modules other than `segue` itself, and the names of theirs that are promised.
MODULES = {
    "segue.inference.predict": ["Predictor"],
    "segue.plan": ["Data", "Model", "StagePlan"],
    "segue.rfdetr": None,  # all its public classes
}
HEAD = """# Python API

Written by `python docs/api.py` from the docstrings; a test compares. Everything else in the package
may move between versions. `boxes_xyxy` are pixels of the image as stored, scores are 0..1, masks
(N, H, W) bool.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    text = "\n".join(page()).rstrip() + "\n"
    if parser.parse_args().check:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def page() -> Iterator[str]:
    yield HEAD
    yield "## segue\n"
    for name in segue.__all__:
        yield from described(name, getattr(segue, name))
    for module, names in MODULES.items():
        yield f"## {module}\n"
        home = importlib.import_module(module)
        for name in names if names is not None else public_classes(home):
            yield from described(name, getattr(home, name))
    yield "## segue.errors\n"
    yield inspect.getdoc(errors) or ""
    yield ""
    for name in public_classes(errors):
        yield from described(name, getattr(errors, name))


def public_classes(module: object) -> list[str]:
    home = getattr(module, "__name__", "")
    classes = inspect.getmembers(module, inspect.isclass)
    return [name for name, kind in classes if kind.__module__ == home and not name.startswith("_")]


def described(name: str, thing: object) -> Iterator[str]:
    """A heading with the signature, the docstring as it stands, and the same for public methods."""
    yield f"### `{name}{signature(thing)}`\n"
    yield from documented(thing)
    if not inspect.isclass(thing):
        return
    for method, member in vars(thing).items():
        if method.startswith("_") or not (
            inspect.isfunction(member) or isinstance(member, property)
        ):
            continue
        call = "" if isinstance(member, property) else signature(member)
        yield f"#### `{name}.{method}{call}`\n"
        yield from documented(member)


def documented(thing: object) -> Iterator[str]:
    text = (
        inspect.getdoc(thing)
        if not inspect.isclass(thing)
        else thing.__doc__ and inspect.cleandoc(thing.__doc__)
    )
    if text:
        yield "```text\n" + text.replace("```", "") + "\n```\n"


def signature(thing: object) -> str:
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return ""
    try:
        shown = str(inspect.signature(thing)) if callable(thing) else ""
    except ValueError:
        return ""
    return "" if len(shown) > 160 and inspect.isclass(thing) else shown


if __name__ == "__main__":
    sys.exit(main())
