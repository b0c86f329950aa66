"""Sends a greeting to the WebSocket server that WS_URL names, and prints the answer."""

import os
import sys

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.client import ClientConfig, connect
from wit_world.imports.types import Message_Close, Message_Text


def config(url: str) -> ClientConfig:
    return ClientConfig(
        url=url,
        subprotocols=None,
        headers=None,
        timeout_ms=5000,
        max_message_size=None,
        enable_keepalive=None,
        keepalive_interval_ms=None,
    )


def hello(url: str) -> None:
    with connect(config(url)) as connection:
        connection.send(Message_Text("Hello from Python!"))
        while True:
            match connection.receive():
                case Message_Text(answer):
                    print(f"the server answered: {answer}")
                    break
                case Message_Close(info):
                    sys.exit(f"hello: the server closed with {info.code} and no answer")
                case _:
                    pass  # nothing yet, or nothing that answers
        connection.close(1000, None)


class Run(exports.Run):
    def run(self) -> None:
        url = os.environ.get("WS_URL")
        if not url:
            sys.exit("hello: name a server in WS_URL, such as ws://localhost:9001/")
        try:
            hello(url)
        except Err as error:
            sys.exit(f"hello: {error.value}")
