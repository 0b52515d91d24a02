"""Which images to label by hand: those that teach a model most, and each something else.

An image is worth more the more its views disagree and the more objects it has; both count by rank,
disagreement twice. Each pick has the largest product of worth and distance to the nearest image
that is labelled or picked already (greedy k-centre, weighted, after Sener and Savarese, ICLR 2018):
a copy is worth nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from segue.labelling.disagreement import Assessment

COPY = 1e-3  # of the median distance between two images: nearer ones are copies


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that may be picked.

    name: its path with `/` below its folder. group: the field of view it shows. doubt: why the
    algorithm that labelled it does not trust the labels; empty if it does.
    """

    name: str
    path: Path
    group: str
    assessment: Assessment
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Pick:
    """A picked image and why.

    distance: to the nearest image labelled or picked before, in medians of all distances; None if
    there was none. nearest: its name.
    """

    candidate: Candidate
    distance: float | None
    nearest: str
    reason: str


def choose(
    candidates: Sequence[Candidate], count: int, labelled: Sequence[tuple[str, np.ndarray]] = ()
) -> list[Pick]:
    """Up to `count` images, best first; fewer if all others show what is labelled or picked.

    labelled: names and features (D,) of images that have labels.
    """
    if not candidates:
        return []
    # by name, so that the pick does not depend on the order of files; equal gains go to the first
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
        # beyond the median distance an image is simply another one: farther is not better
        gain = worth * distance[: len(candidates)].clip(0, 1)
        gain[[c.group in groups for c in candidates]] = 0
        gain[distance[: len(candidates)] < COPY] = 0
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
    """What each image is worth by itself (N,), above 0 and at most 1."""
    objects = _ranks([float(len(c.assessment.detections)) for c in candidates])
    differ = [
        c.assessment.disagreement for c in candidates if c.assessment.disagreement is not None
    ]
    return (2 * _ranks(differ) + objects) / 3 if len(differ) == len(candidates) else objects


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks of values (N,), above 0 and below 1; equal values share one.

    Values are compared to six digits, so that rounding does not decide.
    """
    return (rankdata(np.round(values, 6)) - 0.5) / len(values)


def _distances(features: Sequence[np.ndarray]) -> np.ndarray:
    """Distances between every two images (N, N), in medians; if half are equal, in maxima."""
    apart = cdist(np.stack(features), np.stack(features))
    typical = np.median(apart[np.triu_indices(len(apart), 1)]) if len(apart) > 1 else 1.0
    return apart / (typical or apart.max() or 1.0)


def _reason(candidates: Sequence[Candidate], best: int, distance: float | None, like: str) -> str:
    """Why an image was picked, for people: each figure next to the median of all candidates."""
    assessment = candidates[best].assessment
    objects = np.median([len(c.assessment.detections) for c in candidates])
    reasons = [f"{len(assessment.detections)} objects (median {objects:g})"]
    if assessment.disagreement is not None:
        median = np.median(
            [c.assessment.disagreement for c in candidates if c.assessment.disagreement is not None]
        )
        reasons.insert(0, f"views disagree {assessment.disagreement:.2f} (median {median:.2f})")
    if distance is not None:
        how = "unlike" if distance >= 0.5 else "somewhat like"
        reasons.append(
            f"{how} what is labelled or picked before ({distance:.2f} of the typical distance to "
            f"{like})"
        )
    if candidates[best].doubt:
        reasons.append(f"doubtful: {candidates[best].doubt}")
    return "; ".join(reasons)
