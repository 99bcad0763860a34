"""
Measure what obskit costs, as ratios to a floor in the same run.
"""
