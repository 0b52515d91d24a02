"""Measuring what a model finds: COCO figures, comparisons with intervals, and the report."""
