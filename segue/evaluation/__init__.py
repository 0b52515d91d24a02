"""What trained models are worth, and pages that show it.

`evaluate` runs a model over a split, `coco_metrics` computes average precision, `bootstrap` says
whether a difference is real, `ceiling` what a resolution allows; `report`, `comparison`,
`audit_page` and `overlay` make pages and pictures.
"""
