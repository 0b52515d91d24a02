"""One plan, many values: `combinations` of them, `launch`ed as processes or on Ray, and their
`runner`.
"""
