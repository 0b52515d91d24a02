"""The commands of the four original projects, translated to plans; the files under scripts/ are
their doors.
"""
