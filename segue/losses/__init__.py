"""One set-prediction criterion for every DETR-like family: match, then sum each term, then divide
once per step.
"""
