"""Which images to label by hand: those of which a model learns most, and each of them something
else.

An image is worth more the more its views disagree and the more objects it has; both count by rank,
disagreement twice. The first pick is worth most. Every further one is worth most times how far it
looks from its nearest neighbour among what is labelled or picked before (greedy k-centre,
weighted): a copy is worth nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from segue.labelling.disagreement import Assessment

SAME = 1e-3  # of the typical distance between two images: nearer ones are copies


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that may be picked. name: its path with `/` below its folder. group: the field of
    view it shows.

    doubt: of the algorithm that labelled it, if it had one.
    """

    name: str
    path: Path
    group: str
    assessment: Assessment
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Pick:
    """A picked image and why.

    distance: to the nearest one labelled or picked before; 1 is what is typical.
    """

    candidate: Candidate
    distance: float | None
    nearest: str
    reason: str


def choose(
    candidates: Sequence[Candidate], count: int, labelled: Sequence[tuple[str, np.ndarray]] = ()
) -> list[Pick]:
    """Up to `count` images, best first; fewer if all others show what is labelled or picked
    already.

    labelled: names and features of images that have labels.
    """
    if not candidates:
        return []
    candidates = sorted(candidates, key=lambda candidate: candidate.name)
    names = [candidate.name for candidate in candidates] + [name for name, _ in labelled]
    apart = _distances(
        [*(c.assessment.features for c in candidates), *(features for _, features in labelled)]
    )
    worth, known = _worth(candidates), list(range(len(candidates), len(names)))
    groups: set[str] = set()
    picks: list[Pick] = []
    while len(picks) < count:
        nearest = apart[:, known].argmin(1) if known else None
        distance = np.ones(len(names)) if nearest is None else apart[:, known].min(1)
        gain = worth * distance[: len(candidates)].clip(0, 1)
        gain[[c.group in groups for c in candidates]] = 0
        gain[distance[: len(candidates)] < SAME] = 0
        best = int(gain.argmax())
        if gain[best] == 0:
            break
        like = "" if nearest is None else names[known[int(nearest[best])]]
        known_distance = None if nearest is None else float(distance[best])
        reason = _reason(candidates, best, known_distance, like)
        picks.append(Pick(candidates[best], known_distance, like, reason))
        groups.add(candidates[best].group)
        known.append(best)
    return picks


def _worth(candidates: Sequence[Candidate]) -> np.ndarray:
    """What each image (N,) is worth by itself, above 0, at most 1."""
    objects = _ranks([float(len(c.assessment.detections)) for c in candidates])
    differ = [
        c.assessment.disagreement for c in candidates if c.assessment.disagreement is not None
    ]
    return (2 * _ranks(differ) + objects) / 3 if len(differ) == len(candidates) else objects


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Places in order, 0..1, equal values sharing one; differences of rounding are none."""
    return (rankdata(np.round(values, 6)) - 0.5) / len(values)


def _distances(features: Sequence[np.ndarray]) -> np.ndarray:
    """Between every two images (N, N); 1 is the median."""
    apart = cdist(np.stack(features), np.stack(features))
    typical = np.median(apart[np.triu_indices(len(apart), 1)]) if len(apart) > 1 else 1.0
    return apart / (typical or apart.max() or 1.0)


def _reason(candidates: Sequence[Candidate], best: int, distance: float | None, like: str) -> str:
    assessment = candidates[best].assessment
    objects = np.median([len(c.assessment.detections) for c in candidates])
    said = [f"{len(assessment.detections)} objects (median {objects:g})"]
    if assessment.disagreement is not None:
        median = np.median(
            [c.assessment.disagreement for c in candidates if c.assessment.disagreement is not None]
        )
        said.insert(0, f"views disagree {assessment.disagreement:.2f} (median {median:.2f})")
    if distance is not None:
        how = "unlike" if distance >= 0.5 else "somewhat like"
        said.append(
            f"{how} what is labelled or picked before ({distance:.2f} of the typical distance to "
            f"{like})"
        )
    if candidates[best].doubt:
        said.append(f"doubtful: {candidates[best].doubt}")
    return "; ".join(said)
