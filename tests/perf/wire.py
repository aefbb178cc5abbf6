"""Small clients, each for one response or one WebSocket."""

import re
import socket
import ssl

GET = b"GET /1k HTTP/1.1\r\nHost: perf\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: perf\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGE = b"\x81\x82\x00\x00\x00\x00hi"  # a text frame, masked with zeros


def get(port):
    """A connection after one response, kept open."""
    return answered(socket.create_connection(("127.0.0.1", port), timeout=30))


def get_tls(port, context):
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    return answered(context.wrap_socket(client, server_hostname="127.0.0.1"))


def trusting(certificate):
    return ssl.create_default_context(cafile=certificate)


def answered(client):
    client.sendall(GET)
    head, body = head_of(client)
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"not an answer: {head}")
    left = int(re.search(rb"(?i)content-length: (\d+)", head).group(1)) - len(body)
    while left > 0:
        left -= len(received(client))
    return client


def websocket(port):
    """A WebSocket connection after one echo."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(UPGRADE)
    head, echoed = head_of(client)
    if not head.startswith(b"HTTP/1.1 101"):
        raise SystemExit(f"not upgraded: {head}")
    client.sendall(MESSAGE)
    while len(echoed) < 4:
        echoed += received(client)
    if echoed != b"\x81\x02hi":
        raise SystemExit(f"another message came back: {echoed}")
    return client


def head_of(client):
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += received(client)
    return answer.split(b"\r\n\r\n", 1)


def received(client):
    if not (data := client.recv(65536)):
        raise ConnectionResetError("the server closed the connection")
    return data
