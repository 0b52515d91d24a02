"""Using a trained model: on images in memory, and on folders.

`loading` opens a model, `predict` runs it on an image, `tiles` and `joining` on large ones;
`refine` follows, `measure` and `skeletons` give numbers, `outputs` writes files, `speed` times it.
"""
