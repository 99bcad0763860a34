"""
Answer obskit's own routes, as plain status, headers and body.
"""
