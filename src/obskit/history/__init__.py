"""
What has been: figures over time, kept in the application's own files.
"""
