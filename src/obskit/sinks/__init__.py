"""
Turn finished operations and events into output: metrics, log lines, spans.
"""
