"""Clients of the soak. Each function is one client: it repeats one kind of exchange until it is cancelled, and reports what is wrong.

A client may leave in the middle; the gate may not. While the gate is upgraded (`Traffic.upgrading`), the ends that HTTP and WebSockets
provide for are no fault: `Connection: close`, GOAWAY, Close 1001, and the cut of a stream that never ends by itself.
"""

import asyncio
import base64
import collections
import contextlib
import json
import random
import re
import ssl

import h2.config
import h2.connection
import h2.events

PATIENCE = 60  # For one exchange, on a machine that does much else.
MIB = 1024 * 1024
SIZES = {"/1k": 1024, "/10m": 10 * MIB}
UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: soak\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ADMINISTRATOR = base64.b64encode(b"admin:admin").decode()


class Fault(Exception):
    """A response, or an end, that the origin has not sent."""


class Traffic:
    """The addresses of the gate, the clients, and what they count."""

    def __init__(self, port, tls_port, certificate):
        self.port, self.tls_port = port, tls_port
        self.trust = ssl.create_default_context(cafile=certificate)
        self.trust_h2 = ssl.create_default_context(cafile=certificate)
        self.trust_h2.set_alpn_protocols(["h2"])
        self.done, self.faults = collections.Counter(), collections.Counter()
        self.upgrading, self.clients, self.limits = False, [], {}

    def start(self):
        for kind, number in CLIENTS.items():
            self.clients += [asyncio.create_task(self.repeat(kind)) for _ in range(number)]

    async def repeat(self, kind):
        while True:
            try:
                async with asyncio.timeout(PATIENCE) as self.limits[asyncio.current_task()]:
                    await kind(self)
            except (Fault, OSError, EOFError, TimeoutError, h2.exceptions.H2Error) as fault:
                self.fault(kind.__name__, fault)
                await asyncio.sleep(0.5)
            await asyncio.sleep(random.uniform(0.01, 0.1))

    def did(self, kind):
        """Counts an exchange of the current client, which has time for the next one."""
        self.done[kind] += 1
        if limit := self.limits.get(asyncio.current_task()):
            limit.reschedule(asyncio.get_running_loop().time() + PATIENCE)

    def fault(self, kind, fault):
        self.faults[f"{kind}: {type(fault).__name__} {fault}"[:300]] += 1

    @contextlib.asynccontextmanager
    async def connected(self, tls=None):
        port = self.tls_port if tls else self.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=MIB)
        try:
            yield reader, writer
        finally:
            # Without the wait of a clean end: a client that leaves does not wait either.
            writer.transport.abort()


async def cancel(tasks):
    """Ends them. A task that has ended before has a fault of its own."""
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            raise ended


# One exchange each, over HTTP/1.1.


async def head_of(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    return int(head.split(" ", 2)[1]), head.lower()


async def exchange(reader, writer, path, method="GET", body=b"", fields="", expected=(200,)):
    """Returns the body, and whether the connection can be used again."""
    length = f"Content-Length: {len(body)}\r\n" if method != "GET" else ""
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: soak\r\n{length}{fields}\r\n".encode() + body)
    await writer.drain()
    status, head = await head_of(reader)
    size = re.search(r"\r\ncontent-length: (\d+)\r\n", head)
    if status not in expected or not size:
        raise Fault(f"{method} {path}: {status}: {(await reader.read(400)).decode(errors='replace')}")
    answer = await reader.readexactly(int(size.group(1)))
    if len(answer) != SIZES.get(path, len(answer)):
        raise Fault(f"{method} {path}: {len(answer)} bytes")
    return answer, "\r\nconnection: close\r\n" not in head


async def exchanges(traffic, kind, number, tls=None):
    """Several requests over one connection."""
    async with traffic.connected(tls) as (reader, writer):
        for _ in range(number):
            _, reusable = await exchange(reader, writer, "/1k")
            traffic.did(kind)
            if not reusable:
                if not traffic.upgrading:
                    raise Fault("Connection: close")
                return
            await asyncio.sleep(random.uniform(0, 0.05))


async def keep_alive(traffic):
    await exchanges(traffic, "keep_alive", 200)


async def tls(traffic):
    await exchanges(traffic, "tls", 10, traffic.trust)


async def new_connection(traffic):
    async with traffic.connected() as (reader, writer):
        await exchange(reader, writer, "/1k", fields="Connection: close\r\n")
        if await reader.read():
            raise Fault("bytes after the response")
    traffic.did("new_connection")


async def download(traffic):
    async with traffic.connected() as (reader, writer):
        await exchange(reader, writer, "/10m")
    traffic.did("download")
    await asyncio.sleep(0.5)


async def download_left(traffic):
    """Leaves in the middle of a download."""
    async with traffic.connected() as (reader, writer):
        writer.write(b"GET /10m HTTP/1.1\r\nHost: soak\r\n\r\n")
        status, _ = await head_of(reader)
        if status != 200:
            raise Fault(f"status {status}")
        await reader.readexactly(random.randrange(1, MIB))
    traffic.did("download_left")
    await asyncio.sleep(0.2)


async def upload(traffic):
    async with traffic.connected(random.choice([None, traffic.trust])) as (reader, writer):
        await exchange(reader, writer, "/upload", "POST", bytes(MIB))
    traffic.did("upload")
    await asyncio.sleep(0.2)


async def upload_left(traffic):
    """Leaves in the middle of an upload."""
    async with traffic.connected() as (_, writer):
        writer.write(f"POST /upload HTTP/1.1\r\nHost: soak\r\nContent-Length: {MIB}\r\n\r\n".encode())
        writer.write(bytes(random.randrange(MIB)))
        await writer.drain()
    traffic.did("upload_left")
    await asyncio.sleep(0.2)


async def events(traffic):
    """Reads some server-sent events of a stream without an end, and leaves."""
    async with traffic.connected() as (reader, writer):
        writer.write(b"GET /events HTTP/1.1\r\nHost: soak\r\n\r\n")
        status, _ = await head_of(reader)
        if status != 200:
            raise Fault(f"status {status}")
        for _ in range(random.randrange(1, 50)):
            try:
                event = await reader.readuntil(b"\n\n\r\n")
            except asyncio.IncompleteReadError:
                if traffic.upgrading:
                    return
                raise
            if b"data: " not in event:
                raise Fault(f"an event: {event}")
            traffic.did("events")


async def websocket(traffic):
    async with traffic.connected(random.choice([None, traffic.trust])) as (reader, writer):
        writer.write(UPGRADE.encode())
        status, _ = await head_of(reader)
        if status != 101:
            raise Fault(f"status {status}")
        for _ in range(random.randrange(1, 100)):
            message = random.randbytes(random.randrange(126))
            writer.write(frame(2, message))
            kind, echoed = await frame_of(reader)
            if kind == 8 and echoed[:2] == (1001).to_bytes(2) and traffic.upgrading:
                writer.write(frame(8, echoed[:2]))
                return
            if (kind, echoed) != (2, message):
                raise Fault(f"frame of kind {kind}: {echoed}")
            traffic.did("websocket")
            await asyncio.sleep(random.uniform(0, 0.05))
        if random.random() < 0.5:
            writer.write(frame(8, (1000).to_bytes(2)))
            if (await frame_of(reader))[0] != 8 or await reader.read():
                raise Fault("no clean end")


def frame(kind, payload):
    """A masked frame with at most 125 bytes; the mask is zero."""
    return bytes([0x80 | kind, 0x80 | len(payload), 0, 0, 0, 0]) + payload


async def frame_of(reader):
    kind, length = await reader.readexactly(2)
    return kind & 15, await reader.readexactly(length)


async def http2(traffic):
    """One connection with a few rounds of concurrent streams. Resets one stream of each round."""
    async with traffic.connected(traffic.trust_h2) as (reader, writer):
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        client.initiate_connection()
        for _ in range(20):
            awaited, received = set(), collections.Counter()
            for path in ["/1k"] * 7 + ["/10m"]:
                stream = client.get_next_available_stream_id()
                fields = {":method": "GET", ":path": path, ":scheme": "https", ":authority": "soak"}
                client.send_headers(stream, list(fields.items()), end_stream=True)
                awaited.add(stream)
            left = stream
            while awaited:
                writer.write(client.data_to_send())
                await writer.drain()
                if not (data := await reader.read(MIB)):
                    raise Fault(f"the connection ended with {len(awaited)} streams")
                try:
                    events = client.receive_data(data)
                except h2.exceptions.ProtocolError as error:
                    # The library takes no frame after GOAWAY, although a PING may follow it (RFC 9113 section 6.8).
                    if traffic.upgrading and "ConnectionState.CLOSED" in str(error):
                        return
                    raise
                for event in events:
                    match event:
                        case h2.events.ResponseReceived() if dict(event.headers)[":status"] != "200":
                            raise Fault(f"{event.headers}")
                        case h2.events.DataReceived():
                            received[event.stream_id] += len(event.data)
                            client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                            if event.stream_id == left and left in awaited:
                                client.reset_stream(left, 8)
                                awaited.discard(left)
                        case h2.events.StreamEnded():
                            if received[event.stream_id] != SIZES["/1k"]:
                                raise Fault(f"{received[event.stream_id]} bytes")
                            awaited.discard(event.stream_id)
                            traffic.did("http2")
                        case h2.events.StreamReset():
                            raise Fault(f"{event}")
                        case h2.events.ConnectionTerminated():
                            if event.error_code or not traffic.upgrading:
                                raise Fault(f"{event}")
                            return
            await asyncio.sleep(random.uniform(0, 0.2))


async def licensing(traffic):
    async with traffic.connected() as (reader, writer):
        for path in ("check", "token", "history"):
            authorized = f"Authorization: Basic {ADMINISTRATOR}\r\n"
            _, reusable = await exchange(reader, writer, f"/api/licensing/{path}", fields=authorized)
            traffic.did("licensing")
            if not reusable:
                return


async def install(traffic, token):
    """Installs a license. It must be the one that is in force afterwards, also for a client that connects next."""
    fields = f"Authorization: Basic {ADMINISTRATOR}\r\nContent-Type: application/json\r\n"
    body = json.dumps({"token": token}).encode()
    payload = token.split(".")[1]
    jti = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]
    while True:
        async with traffic.connected() as (reader, writer):
            refused = (503,) if traffic.upgrading else ()
            answer, _ = await exchange(reader, writer, "/api/licensing/token", "POST", body, fields, (200, *refused))
        if b"jti" in answer:
            break
        # The former process has given the store away.
        await asyncio.sleep(1)
    async with traffic.connected() as (reader, writer):
        answer, _ = await exchange(reader, writer, "/api/licensing/token", fields=fields)
    if json.loads(answer)["jti"] != jti:
        raise Fault(f"installed {jti}, in force {json.loads(answer)['jti']}")
    traffic.did("installed")


CLIENTS = {
    keep_alive: 8,
    new_connection: 2,
    tls: 3,
    websocket: 8,
    events: 4,
    download: 1,
    download_left: 2,
    upload: 1,
    upload_left: 2,
    http2: 2,
    licensing: 2,
}
