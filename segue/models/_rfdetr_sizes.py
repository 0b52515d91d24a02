"""The sizes RF-DETR was published in (roboflow/rf-detr `config.py` at 1.11.2), and `pico`, which is
ours.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """resolution, patch and mask_stride in pixels; taps: backbone layers whose maps are used; grid:
    side of the grid of position embeddings.
    """

    resolution: int
    patch: int
    windows: int
    layers: int
    queries: int = 300
    taps: tuple[int, ...] = (3, 6, 9, 12)
    grid: int | None = None
    encoder: tuple[int, int, int] = (384, 12, 6)  # width, layers, heads
    width: int = 256
    heads: tuple[int, int] = (8, 16)  # self attention, cross attention
    points: int = 2
    ffn: int = 2048
    scales: tuple[float, ...] = (1.0,)
    mask_stride: int = 4

    @property
    def stride(self) -> int:
        """Pixels of a cell of the finest feature map."""
        return int(self.patch / max(self.scales))


SIZES = {
    "pico": Size(128, 8, 2, 2, 60, (1, 2, 4), None, (96, 4, 3), 64, (4, 8), 2, 256, mask_stride=2),
    "nano": Size(384, 16, 2, 2),
    "small": Size(512, 16, 2, 3),
    "medium": Size(576, 16, 2, 4),
    "base": Size(560, 14, 4, 3, taps=(2, 5, 8, 11), grid=37),
    "large": Size(
        560, 14, 4, 3, taps=(2, 5, 8, 11), grid=37, encoder=(768, 12, 12), width=384,
        heads=(12, 24), points=4, scales=(2.0, 0.5),
    ),
    "large-2026": Size(704, 16, 2, 4),
    "seg-preview": Size(432, 12, 2, 4, 200),
    "seg-nano": Size(312, 12, 1, 4, 100),
    "seg-small": Size(384, 12, 2, 4, 100),
    "seg-medium": Size(432, 12, 2, 5, 200),
    "seg-large": Size(504, 12, 2, 5, 200),
    "seg-xlarge": Size(624, 12, 2, 6, 300),
    "seg-2xlarge": Size(768, 12, 2, 6, 300),
}  # fmt: skip
