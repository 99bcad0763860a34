"""
What sinks, health checks, gates and state engines must keep, whoever writes them.
"""
