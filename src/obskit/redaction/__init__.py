"""
Redact secrets in whatever is shown: lines, replies, reports.
"""
