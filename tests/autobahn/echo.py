"""A WebSocket echo server for the Autobahn cases. Offers permessage-deflate, accepts messages of any size, prints its port.

What it sends depends only on the bytes that it receives, never on how they are divided into packets. The servers of the
`websockets` package do not have this property: they parse everything that has arrived, and echo from another task. If a
message and an invalid frame arrive together, they close before they have echoed the message; if they arrive one after the
other, they echo it first. A proxy may join packets, so such a server gives other verdicts behind a proxy, now and then.
"""

import asyncio

from websockets.extensions.permessage_deflate import enable_server_permessage_deflate
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol


class Echo(ServerProtocol):
    """Echoes each message before it parses the next frame."""

    def __init__(self):
        super().__init__(extensions=enable_server_permessage_deflate(None), max_size=None)
        self.opcode, self.fragments = None, []

    def recv_frame(self, frame):
        super().recv_frame(frame)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self.opcode, self.fragments = frame.opcode, []
        elif frame.opcode is not Opcode.CONT:
            return
        self.fragments.append(bytes(frame.data))
        if frame.fin:
            message = b"".join(self.fragments)
            if self.opcode is Opcode.TEXT:
                # Raises an error if it is not UTF-8, which closes the connection with 1007.
                message.decode()
                self.send_text(message)
            else:
                self.send_binary(message)


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.echo = transport, Echo()

    def data_received(self, data):
        self.echo.receive_data(data)
        for event in self.echo.events_received():
            if isinstance(event, Request):
                self.echo.send_response(self.echo.accept(event))
        self.send()

    def eof_received(self):
        self.echo.receive_eof()
        self.send()

    def send(self):
        for data in self.echo.data_to_send():
            if data:
                self.transport.write(data)
            elif self.transport.can_write_eof():
                # Half-closes, and reads on until the client closes: no reset overtakes what was sent.
                self.transport.write_eof()


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
