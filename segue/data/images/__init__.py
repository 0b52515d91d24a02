"""Image files: how they are decoded, which channels a model takes of them, and what their numbers
mean.
"""
