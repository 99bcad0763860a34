"""
Every stack to one contract: the same request makes the same `HttpOperation`.

`scene.py` is what the small application does, `stacks/` builds it seven times, `drivers.py` and
`servers.py` play the server, `conftest.py` records. A new stack is one file in `stacks/`.
"""
