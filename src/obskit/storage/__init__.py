"""
The files that obskit keeps for itself.
"""
