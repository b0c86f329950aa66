"""PyPI `aiohttp` as tests/peers/README.md describes it; it cannot send fragments."""

import asyncio
import ssl
import sys

from aiohttp import WSMsgType, web


async def client(request):
    # Its limit is the first size that is too much, and autoping would keep the pong from us.
    socket = web.WebSocketResponse(max_msg_size=(16 << 20) + 1, protocols=["second"], autoping=False)
    await socket.prepare(request)
    match request.path:
        case "/headers":
            fields = request.raw_headers
            await socket.send_str("\n".join(f"{name.decode().lower()}: {value.decode()}" for name, value in fields))
        case "/fragments":
            await socket.send_str("fragmented")
        case "/ping":
            await socket.ping(b"are you there")
        case "/close":
            await socket.close(code=4321, message="grüße vom Server".encode())
    while True:
        message = await socket.receive()
        match message.type:
            case WSMsgType.TEXT:
                await socket.send_str(message.data)
            case WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            case WSMsgType.PING:
                await socket.pong(message.data)
            case WSMsgType.PONG:
                await socket.send_str("ponged")
            case WSMsgType.CLOSE:
                print(f"closed {message.data} {message.extra}", flush=True)
                return socket
            case _:
                # Of the answer to its own close, aiohttp tells only the code.
                print(f"closed {socket.close_code} ", flush=True)
                return socket


async def main():
    application = web.Application()
    application.router.add_get("/{path:.*}", client)
    runner = web.AppRunner(application)
    await runner.setup()
    tls = None
    if sys.argv[1:]:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*sys.argv[1:])
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    print(f"listening on {runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
