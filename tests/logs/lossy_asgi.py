"""
What uvicorn imports.
"""

from lossy import asgi, network_app

app = network_app(asgi)
