"""One training loop for every plan: hand-over, freezing, steps, checkpoints, and what they leave in
writing.
"""
