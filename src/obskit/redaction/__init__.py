"""
Take secrets out of whatever is shown: lines, replies, reports.
"""
