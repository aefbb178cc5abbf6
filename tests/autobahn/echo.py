"""A WebSocket server that says back what it is told: the one the Autobahn cases are played against.

Offers permessage-deflate, takes messages of any size, prints its port once it listens.
"""

import asyncio
import os

# Cases 9.3 and 9.4 send one message in 65,536 fragments.
os.environ["WEBSOCKETS_MAX_FRAGMENTS"] = "1000000"

from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    async with serve(echo, "127.0.0.1", 0, max_size=None, max_queue=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
