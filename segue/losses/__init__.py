"""One set-prediction criterion for every DETR-like family: match, sum each term, then divide once
per step.

`matcher` assigns queries to objects, `terms` compares them, `points` says where masks are compared,
`noise` what labels are not trusted in, and `criterion` puts these together. `rcnn` and
`region_sampling` are the same for families that propose regions; `weights` is what terms weigh.
"""
