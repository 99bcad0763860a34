"""
The values behind every metric: cells, label sets and their cap, declarations, and the registry's collector.
"""
