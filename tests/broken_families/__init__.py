"""Model families for tests, found by their dotted paths: RF-DETR, to which things happen."""
