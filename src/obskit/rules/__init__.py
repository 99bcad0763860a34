"""
When a condition becomes an alert, and for how long it stays one.
"""
