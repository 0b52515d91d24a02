"""One meaning a word, and the field's word where there is one: the glossary is true, and words that
were given up stay away from names and prose.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segue.data.problems import KINDS
from tests.conftest import ROOT

FOLDERS = ("segue", "scripts", "benchmarks", "docs", "tests")
GLOSSARY = ROOT / "docs" / "glossary.md"

# Names of classes, functions and parameters -> what to say instead. Keys of plans and files keep
# such words where they have them: only Python names are looked at, not strings.
NAMES = {
    "Asked": "the noun: EvaluateOptions, PickOptions",
    "Wanted": "PredictOptions",
    "Found": "the noun: RunRow, Detections",
    "Begun": "StepSnapshot",
    "Saving": "FreezeBenefit",
    "Weights": "LossWeights, RegionLossWeights or ModelWeights",
    "Job": "SweepJob or LabelJob",
    "DisturbedView": "CorruptedView",
    "settle": "resolve_options",
    "adapt": "adapt_weights",
    "normalised": "with_pretraining_stats",
    "options_in": "options_from_weights",
    "first_layers": "input_convs",
    "found": "the noun: detections, matches, findings",
    "said": "the noun: message, notes",
    "told": "the noun: message",
    "asked": "the noun: options, request",
    "begun": "the noun: snapshot",
    "one": "the noun",
    "some": "the noun: sample, subset",
    "own": "the noun",
    "wanted": "expected, target, options",
}
# Words of prose, in documents and docstrings -> what to say instead.
PROSE = {
    r"\b[Aa]new\b": "again",
    r"\b[Bb]eside\b": "next to, with, in addition to",
    r"\b[Tt]old\b(?! apart)": "the verb that fits: given, named, distinguished",
    r"(?<!there )\bis none\b": "is not, is not one",
    r"\bnone of ours\b": "not one of ours",
    r"\bthe like\b": "the noun",
    r"\bof use\b": "useful",
    r"\b[Mm]ended\b": "fixed",
    r"\b[Aa]veraged? weights\b": "EMA weights",
}
# Errors and findings report the value found next to the one expected: there the word is the noun.
KEPT = {
    "found": (
        "segue/errors.py",
        "segue/data/problems.py",
        "segue/data/records.py",
        "segue/data/formats/_shapes.py",
        "segue/data/images/image_error.py",
    )
}


def python_files() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def names_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and names of classes, functions and parameters."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def docstrings_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node, clean=False)):
            yield node.body[0].lineno, text


def given_up(path: Path) -> list[tuple[str, int]]:
    """Words that a file should not have, with their lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        tree = ast.parse(text)
        words = [(name, line) for line, name in names_of(tree) if name in NAMES]
        prose = list(docstrings_of(tree))
    else:
        words: list[Any] = []
        prose: list[Any] = [(1, text)]
    for line, passage in prose:
        for kind in KINDS:  # names of defects are part of files on disk
            passage = passage.replace(kind, "")
        for pattern in PROSE:
            for hit in re.finditer(pattern, passage):
                words.append((pattern, line + passage.count("\n", 0, hit.start())))
    return words


def occurrences() -> list[tuple[str, str, int]]:
    """Word, path and line of every word that was given up, in the whole repository."""
    return [
        (word, path.relative_to(ROOT).as_posix(), line)
        for path in [*python_files(), *documents()]
        for word, line in given_up(path)
    ]


def test_words_that_were_given_up_are_absent() -> None:
    assert len(python_files()) > 380 and len(documents()) > 15
    wrong = []
    for word, path, line in occurrences():
        if not path.startswith(KEPT.get(word, ())):
            wrong.append(f"{path}:{line}: {word}: say {NAMES.get(word) or PROSE[word]}")
    assert wrong == []


def test_what_the_glossary_names_is_there() -> None:
    rows = re.findall(r"^\| (.+?) \| .*\|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    places = re.findall(r"`([\w/]+\.py): (\w+)`", GLOSSARY.read_text(encoding="utf-8"))
    assert len(rows) > 40 and len(places) > 50
    missing = []
    for path, name in places:
        file = ROOT / path
        if not (file.exists() and re.search(rf"\b{name}\b", file.read_text(encoding="utf-8"))):
            missing.append((path, name))
    assert missing == []


def test_a_word_given_up_is_noticed(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text('"""Measured anew."""\ndef f(found):\n    "Beside it."\nclass Wanted: ...\n')
    assert sorted(word for word, _ in given_up(bad)) == [
        "Wanted",
        r"\b[Aa]new\b",
        r"\b[Bb]eside\b",
        "found",
    ]
