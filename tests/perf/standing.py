"""What a proxy costs that does nothing: memory, at rest and with clients that wait, and the time until it answers."""

import re
import ssl
import statistics
import time

import machine

GET = b"GET /1k HTTP/1.1\r\nHost: perf\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: perf\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGE = b"\x81\x82\x00\x00\x00\x00hi"  # a text frame, masked with zeros
SETTLE_SECONDS = 1


def idle_memory(server):
    """Bytes of a server that has answered one request."""
    server.start()
    try:
        get(server).close()
        time.sleep(SETTLE_SECONDS)
        return server.memory()
    finally:
        server.stop()


def memory_per_connection(server, opened, number):
    """Bytes that each of `number` waiting connections adds; `opened` makes one."""
    server.start()
    waiting = []
    try:
        opened(server).close()
        time.sleep(SETTLE_SECONDS)
        before = server.memory()["Pss"]
        waiting += [opened(server) for _ in range(number)]
        time.sleep(SETTLE_SECONDS)
        return (server.memory()["Pss"] - before) / number
    finally:
        for client in waiting:
            client.close()
        server.stop()


def get(server):
    """A connection that had an answer and is kept."""
    return answered(machine.connected(server.port))


def get_tls(tools):
    context = ssl.create_default_context(cafile=tools.certificate.cert)

    def opened(server):
        client = context.wrap_socket(machine.connected(server.tls_port), server_hostname="127.0.0.1")
        return answered(client)

    return opened


def answered(client):
    client.sendall(GET)
    head, body = head_of(client)
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"not an answer: {head}")
    left = int(re.search(rb"(?i)content-length: (\d+)", head).group(1)) - len(body)
    while left > 0:
        left -= len(received(client))
    return client


def websocket(server):
    """An upgraded connection on which a message came back."""
    client = machine.connected(server.port)
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
        raise SystemExit("the server closed the connection")
    return data


def milliseconds_to_first_answer(server, starts):
    """From the fork to the first whole answer, median of `starts`."""
    took = []
    for _ in range(starts):
        began = time.perf_counter()
        server.spawn()
        try:
            while not (client := machine.connected(server.port)):
                server.wait_a_moment()
            answered(client)
            took.append((time.perf_counter() - began) * 1000)
            client.close()
        finally:
            server.stop()
    return statistics.median(took)
