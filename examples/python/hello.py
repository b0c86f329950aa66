"""Sends a greeting to the WebSocket server that WS_URL names, and prints the answer."""

import os
import sys

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import exit
from wit_world.imports.client import ClientConfig, connect
from wit_world.imports.types import Message_Close, Message_Text

ABOUT = "Sends a greeting to the WebSocket server that WS_URL names, and prints the answer."
USAGE = "usage: hello, with a server in WS_URL, such as ws://localhost:9001/"


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


def misused(why: str) -> None:
    print(f"hello: {why}\n{USAGE}", file=sys.stderr, flush=True)
    # Python itself ends every guest that fails with 1.
    exit.exit_with_code(2)


class Run(exports.Run):
    def run(self) -> None:
        if sys.argv[1:2] in (["--help"], ["-h"]):
            print(f"{ABOUT}\n{USAGE}")
            return
        if len(sys.argv) > 1:
            misused(f"unexpected argument {sys.argv[1]}")
        url = os.environ.get("WS_URL")
        if not url:
            misused("WS_URL is not set")
        try:
            hello(url)
        except Err as error:
            sys.exit(f"hello: {error.value}")
