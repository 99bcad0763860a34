"""
Turn operations of each kind into OpenTelemetry spans.
"""
