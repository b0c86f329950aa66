"""PyPI `websockets` as tests/peers/README.md describes it."""

import asyncio
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


def choose(connection, offered):
    return "second" if "second" in offered else None


async def client(connection):
    try:
        match connection.request.path:
            case "/headers":
                fields = connection.request.headers.raw_items()
                await connection.send("\n".join(f"{name.lower()}: {value}" for name, value in fields))
            case "/fragments":
                await connection.send(["frag", "men", "ted"])
            case "/ping":
                await (await connection.ping("are you there"))
                await connection.send("ponged")
            case "/close":
                await connection.close(4321, "grüße vom Server")
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass
    finally:
        await connection.wait_closed()
        print(f"closed {connection.close_code} {connection.close_reason}", flush=True)


async def main():
    tls = None
    if sys.argv[1:]:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*sys.argv[1:])
    async with serve(client, "127.0.0.1", 0, ssl=tls, max_size=16 << 20, select_subprotocol=choose) as server:
        print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


asyncio.run(main())
