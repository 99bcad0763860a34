"""
Turn operations of each kind into updates of metrics.
"""
