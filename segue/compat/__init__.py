"""The commands of the four original projects, translated to plans.

A package for each recipe; the files under scripts/ are the doors to them, under the names and with
the flags that the originals have.
"""
