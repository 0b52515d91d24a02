"""Data sets written: in other formats and sizes, or two of them as one."""
