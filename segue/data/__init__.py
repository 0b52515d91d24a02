"""From files on disk to samples: formats, images, transforms, the data set, and what is wrong with
it.
"""
