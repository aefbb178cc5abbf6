"""Rounds of 100 concurrent POSTs over HTTP/2, with httpx. Arguments: certificate and URL. Prints JSON."""

import asyncio
import collections
import json
import ssl
import sys

import httpx

certificate, url = sys.argv[1:]
PARALLEL = 100
# Sizes in a round. httpx ends a stream with a separate frame, which is late for bodies beyond 64 KiB, the first window.
SIZES = (0, 10, 1000, 20_000, 70_000, 200_000)


async def post(client, size):
    try:
        answer = await client.post(url, content=b"x" * size)
        return f"{answer.http_version} {answer.status_code} {answer.json()['bytes'] == size}"
    except httpx.HTTPError as error:
        return type(error).__name__


async def main():
    outcomes = collections.Counter()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate)
    for size in SIZES:
        async with httpx.AsyncClient(http2=True, verify=context, timeout=50, trust_env=False) as client:
            outcomes.update(await asyncio.gather(*(post(client, size) for _ in range(PARALLEL))))
    print(json.dumps(outcomes))


asyncio.run(main())
