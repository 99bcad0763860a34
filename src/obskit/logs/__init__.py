"""
Write JSON lines: rendering that never fails, and a stream that takes whole lines.
"""
