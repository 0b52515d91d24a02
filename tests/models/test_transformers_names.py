"""transformers' names that are not its public ones: all in one module, all there, in a known
range.
"""

from __future__ import annotations

import ast
import tomllib

import transformers
from packaging.requirements import Requirement

from segue.models import _transformers
from tests.conftest import ROOT


def test_the_installed_version_has_every_name_and_is_in_the_range():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (wanted,) = [Requirement(d) for d in dependencies if Requirement(d).name == "transformers"]
    assert wanted.specifier.contains(transformers.__version__)
    names = [getattr(_transformers, name) for name in _transformers.__all__]
    assert len(names) == len(set(names)) > 15
    assert {name.__module__.split(".")[0] for name in names} == {"transformers"}


def test_no_other_module_of_the_package_imports_them():
    importers, modules = set(), sorted((ROOT / "segue").rglob("*.py"))
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers."):
                importers.add(path.relative_to(ROOT).as_posix())
    assert len(modules) > 180 and importers == {"segue/models/_transformers.py"}
