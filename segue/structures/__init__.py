"""Boxes, masks, targets and detections: the nouns every other room speaks in. Tensors and numpy
only.

Shapes are written at line ends with one legend: B images, Q queries (all groups), N objects of an
image, T objects or matches of a batch, K classes, C channels, H W pixels, h w cells, L layers, P
points, D width of a feature.
"""
