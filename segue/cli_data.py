"""The verbs below `segue data`: count, check, merge, split and convert data sets."""

from __future__ import annotations

from cyclopts import App

data = App(name="data", help="Data sets: what is in them, and merging, splitting and converting them.")
