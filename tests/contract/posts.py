"""
Send bodies to a real server.
"""

import http.client
import socket


def post(port: int, path: str, body: bytes) -> tuple[int, bytes]:
    """
    Send a body whole; a server may answer, and close, before it has taken all of it.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        return read_reply(client)


def post_slowly(port: int, path: str) -> int:
    """
    Declare a body, send the beginning, and wait.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 100\r\n\r\nabc".encode())
        return read_reply(client)[0]


def get_whole(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Connection": "close"})
    with connection.getresponse() as reply:
        found = reply.status, reply.read()
    connection.close()
    return found


def read_reply(client: socket.socket) -> tuple[int, bytes]:
    reply = http.client.HTTPResponse(client)
    reply.begin()
    return reply.status, reply.read()
