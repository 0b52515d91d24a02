"""XML from files of others, parsed by expat alone: no document type, no entities, little depth."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from segue.data.formats._shapes import UNREADABLE, BadAnnotation
from segue.data.problems import Place, Problem

DEEPEST = 20


def parsed(path: Path, expected: str, problems: list[Problem]) -> Element | None:
    """The root element; None, with a problem, if it cannot be read.

    A document that declares its own type or entities is refused: no annotation tool writes one, and
    they are how a small file becomes a huge one or names files of this machine.
    """
    builder, depth, place = TreeBuilder(), 0, Place(str(path))
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise BadAnnotation(UNREADABLE, f"elements {DEEPEST} deep", expected)
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_declaration: object) -> None:
        raise BadAnnotation(UNREADABLE, "a document type of its own", f"plain XML, {expected}")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = (
        start,
        end,
        builder.data,
    )
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
        return builder.close()
    except FileNotFoundError:
        problems.append(Problem(UNREADABLE, place, "no such file", expected))
    except (OSError, expat.ExpatError, AssertionError, ValueError, LookupError) as error:
        problems.append(Problem(UNREADABLE, place, f"not readable as XML ({error})", expected))
    except BadAnnotation as error:
        problems.append(error.at(place))
    return None
