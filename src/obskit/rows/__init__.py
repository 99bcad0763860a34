"""
The fields of operations and events, declared once for lines, spans, stored rows and the reference.
"""
