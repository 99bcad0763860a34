"""
Keep the figures behind every metric: cells, label sets with their cap, declarations, the registry's collector.
"""
