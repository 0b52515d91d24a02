"""Boxes, masks, targets and detections: the nouns every other room speaks in. Tensors and numpy
only.

Shapes are written in docstrings and at line ends with one legend:

    B    images of a batch or micro-batch
    Q    queries of an image, all groups together
    G    groups of queries, matched separately (Group DETR)
    N    objects of one image
    T    pairs of a query and an object, or objects, of a whole batch
    K    classes; K + 1 where "no object" or background is a row of its own
    L    supervised layers: the encoder's proposals and the decoder layers
    A    anchors of an image, of families that propose regions
    P    points at which a mask is sampled, or points of a line
    V    vertices of a ring
    C    channels of an input or of a feature map
    D    width of a feature vector
    H W  rows and columns of pixels: of an image or a frame
    h w  rows and columns of cells: of a feature map, a mask head's output, or a small raster

Coordinates are x, y, and 0, 0 is the top left corner of the top left pixel, whose centre is at 0.5,
0.5; a docstring says where that differs. Sizes are height, width. The image is the file's own pixel
grid; the frame is the resized and augmented view of it that the model sees.

A mask takes these forms on its way from a file to the loss, and from the model to a file:

    form                    where it lives                coordinates            turned into
    masks.Polygon           annotations, CPU              float64 image pixels   a bitmap, when a
                                                                                 sample is made
    masks.Rle               annotations, CPU              image pixels           a bitmap, likewise
    bitmap: bool (h, w)     local variables, numpy        image or frame pixels  PackedMasks or
      and its corner                                                             Region, at once
    masks.PackedMasks       Target.masks, cache files;    frame pixels           values at points,
                            CPU and GPU                                          in matcher and loss
    predictions.MaskSource  a model's training output     cells of the frame     logits, of matched
                                                                                 queries alone
    Detections.mask_logits  output of postprocess, CPU    cells of the image     a bitmap, one mask
                                                                                 at a time
    regions.Region          joined or refined Detections  image pixels           COCO RLE, or rings
                            and what writes them, CPU                            (outlines)

Polygons travel through augmentation as points and are drawn last; an Rle is decoded and resampled
through the same affine map (masks.raster_polygon, masks.raster_bitmap). No form ever holds the N
masks of an image at image size.
"""
