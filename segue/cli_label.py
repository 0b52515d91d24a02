"""The verbs below `segue label`: labels from image processing, and labels by hand."""

from __future__ import annotations

from cyclopts import App

label = App(name="label", help="Labels: from classical image processing, and by hand with what is found as a start.")
