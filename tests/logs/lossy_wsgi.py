"""
What gunicorn imports.
"""

from lossy import network_app, wsgi

app = network_app(wsgi)
