"""Two clients of the `realtime` package meet on a topic: one speaks, the other listens."""

import asyncio
import json
import sys

from realtime import AsyncRealtimeClient

ANSWER_SECONDS = 20
CONFIG = {
    "config": {
        "broadcast": {"ack": False, "self": False},
        "presence": {"key": "", "enabled": False},
        "private": False,
    }
}


async def joined(url: str, topic: str):
    client = AsyncRealtimeClient(url)
    await client.connect()
    channel = client.channel(topic, CONFIG)
    answer = asyncio.get_running_loop().create_future()

    def told(state, error):
        if not answer.done():
            answer.set_result((state.value, error))

    await channel.subscribe(told)
    state, error = await asyncio.wait_for(answer, ANSWER_SECONDS)
    if state != "SUBSCRIBED":
        raise RuntimeError(f"{topic}: {state} {error}")
    return client, channel


async def main(url: str, topic: str, count: int) -> None:
    heard: asyncio.Queue = asyncio.Queue()
    speaker, speaks = await joined(url, topic)
    listener, listens = await joined(url, topic)
    listens.on_broadcast("said", heard.put_nowait)
    for n in range(count):
        await speaks.send_broadcast("said", {"n": n})
    numbers = []
    for _ in range(count):
        message = await asyncio.wait_for(heard.get(), ANSWER_SECONDS)
        numbers.append(message["payload"]["n"])
    for client in (speaker, listener):
        await client.close()
    print(json.dumps(numbers))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
