"""Python's websockets as a contender: it does the jobs of benches/exchange that exchange text. Arguments: the folder of its
packages, and a JSON file with the text of each size."""

import asyncio
import json
import sys
import time

sys.path.insert(0, sys.argv[1])
from websockets.asyncio.client import connect  # noqa: E402

with open(sys.argv[2], encoding="utf-8") as file:
    TEXTS = json.load(file)


async def exchange(job):
    mode, size, count = job["mode"], job["size"], job["count"]
    text = TEXTS[str(size)]
    async with connect(job["target"]["url"], max_size=None) as socket:
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter_ns()
        if mode == "up":
            for _ in range(count):
                await socket.send(text)
            await socket.recv()
        else:
            await socket.send(text)
            for received in range(1, count + 1):
                if len(await socket.recv()) != size:
                    raise ValueError("a message has another size")
                if mode == "ping-pong" and received < count:
                    await socket.send(text)
        nanos = time.perf_counter_ns() - began
    print(json.dumps({"nanos": nanos}), flush=True)


for line in sys.stdin:
    asyncio.run(exchange(json.loads(line)["exchange"]))
