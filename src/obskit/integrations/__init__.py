"""
Meet frameworks and libraries: each file imports its library at the top, and raises `MissingExtraError` without it.
"""
