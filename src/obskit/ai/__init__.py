"""
Know what AI calls took, used and cost, whatever the client.
"""
