"""Put the figures and the picture of a finished demo into README.md: python docs/readme.py
segue-demo/runs/demo-1
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from segue.training import checkpoint
from segue.training.journal import read_rows

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- /figures -->)", re.DOTALL)
SIDE, ROWS, GAP = 288, 2, 6


def figures(run: Path) -> str:
    """A table of each stage: what learned, and the figures of its test images."""
    lines = [
        "| stage | learns | box_ap | box_ap50 | mask_ap | mask_ap50 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    starts = []
    for folder in sorted(run.glob("[0-9]-*")):
        outcome = json.loads((folder / "metrics.json").read_text())
        parts = checkpoint.read_card(folder / "selected").parts
        learns = sum(part.parameters for part in parts.values() if not part.frozen)
        total = sum(part.parameters for part in parts.values())
        names = ("box_ap", "box_ap50", "mask_ap", "mask_ap50")
        values = [
            f"{outcome['test'][name]:.3f}" if name in outcome["test"] else "-" for name in names
        ]
        lines.append(
            f"| {outcome['stage']} | {learns:,} of {total:,} | " + " | ".join(values) + " |"
        )
        metric, before = outcome["metric"], read_rows(folder / "epochs.csv")[0]
        starts.append(f"{outcome['stage']} {metric}50 {before[metric + '50']:.3f}")
    return (
        "\n".join(lines)
        + "\n\nBefore the first step of each stage, on validation images: "
        + ", ".join(starts)
        + ".\n"
    )


def picture(run: Path) -> Image.Image:
    """The first rows of the report's pictures side by side: annotated, detector, masks."""
    images = re.findall(r'src="data:image/webp;base64,([^"]+)"', (run / "report.html").read_text())
    columns = 1 + len(list(run.glob("[0-9]-*")))
    width, height = columns * (SIDE + GAP) + GAP, 24 + ROWS * (SIDE + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    titles = [
        "annotated",
        *(folder.name.partition("-")[2] for folder in sorted(run.glob("[0-9]-*"))),
    ]
    for column, title in enumerate(titles):
        pen.text((GAP + column * (SIDE + GAP), 4), title, fill="black", font=font)
    for number, data in enumerate(images[: ROWS * columns]):
        row, column = divmod(number, columns)
        tile = (
            Image.open(io.BytesIO(base64.b64decode(data)), formats=("WEBP",))
            .convert("RGB")
            .resize((SIDE, SIDE))
        )
        sheet.paste(tile, (GAP + column * (SIDE + GAP), 24 + row * (SIDE + GAP)))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("segue-demo/runs/demo-1"))
    run = parser.parse_args().run
    readme = ROOT / "README.md"
    readme.write_text(BLOCK.sub(lambda _: figures(run), readme.read_text()))
    picture(run).quantize(256, dither=Image.Dither.NONE).save(
        ROOT / "docs" / "demo.png", optimize=True
    )


if __name__ == "__main__":
    main()
