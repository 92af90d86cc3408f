"""Clients of PyPI: python_clients.py NAME URL. Each joins, is refused, hears, beats where it can be
told to, leaves, and joins again when the server was killed. What it wants done it asks the test."""

import asyncio
import inspect
import json
import sys
import time

ANSWER_SECONDS = 20
ROWS = 600


def ask(what: str, **more) -> None:
    """Has the test do something, and waits until it is done."""
    print(json.dumps({"do": what, **more}), flush=True)
    sys.stdin.readline()


def publish(n: int) -> None:
    ask("publish", topic="room:py", event="said", payload={"n": n})


def eventually(what: str, is_true) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


async def meanwhile(what: str, is_true) -> None:
    await asyncio.to_thread(eventually, what, is_true)


def keys(reply: dict, parts: list) -> set:
    rows = reply.get("rows", []) + [row for part in parts for row in part["rows"]]
    return {row["payload"]["key"] for row in rows}


def phxsocket(url: str) -> None:
    import phxsocket

    def opened():
        client = phxsocket.Client(url)
        client.heartbeat_interval = 0.2
        client.connect()
        return client

    client = opened()
    try:
        client.channel("nobody:knows").join()
        raise AssertionError("it joined a topic that nobody knows")
    except phxsocket.channel.ChannelConnectError:
        pass
    room, heard = client.channel("room:py", {}), []
    assert room.join()["mode"] == "live"
    room.on("said", heard.append)
    pushed = room.push("said", {"n": 1}, reply=True).wait_for_response()
    assert pushed["status"] == "ok", pushed
    eventually("its own push", lambda: heard == [{"n": 1}])
    table, parts, marks = client.channel("table:d/many", {}), [], []
    table.on("snapshot", parts.append)
    table.on("bookmark", marks.append)
    reply = table.join()
    eventually("the end of the snapshot", lambda: marks)
    assert len(keys(reply, parts)) == ROWS
    # The server closes who is silent for two seconds.
    time.sleep(2.5)
    publish(2)
    eventually("news after a silence", lambda: heard[-1] == {"n": 2})
    closed = []
    client.on_close = closed.append
    # It says itself that this failed, because it looks for the answer where there is none.
    room.leave()
    pushed = room.push("said", {"n": 3}, reply=True).wait_for_response()
    assert pushed["response"]["reason"] == "unmatched topic", pushed
    ask("restart")
    eventually("the end of the connection", lambda: closed)
    assert opened().channel("table:d/many", {"since": marks[-1]["position"]}).join()["mode"] == "resume"


async def chunnel(url: str) -> None:
    from chunnel.channel import ChannelJoinFailure
    from chunnel.socket import Socket

    async with Socket(url, {}) as socket:
        try:
            await socket.channel("nobody:knows", {}).join()
            raise AssertionError("it joined a topic that nobody knows")
        except ChannelJoinFailure:
            pass
        room = socket.channel("room:py", {})
        assert (await room.join())["mode"] == "live"
        await (await room.push("said", {"n": 1})).response()
        assert (await room.receive()).payload == {"n": 1}
        table = socket.channel("table:d/many", {})
        reply, parts = await table.join(), []
        while (message := await table.receive()).event == "snapshot":
            parts.append(message.payload)
        assert message.event == "bookmark" and len(keys(reply, parts)) == ROWS
        await room.leave()
    await asyncio.to_thread(ask, "restart")
    async with Socket(url, {}) as socket:
        since = {"since": message.payload["position"]}
        assert (await socket.channel("table:d/many", since).join())["mode"] == "resume"


async def phoenix_channels(url: str) -> None:
    from phoenix_channels_python_client.client import PHXChannelsClient
    from phoenix_channels_python_client.exceptions import PHXTopicError
    from phoenix_channels_python_client.phx_messages import Event

    heard, states = [], []

    async def take(payload):
        heard.append(payload)

    async def ignore(_message):
        pass

    async def back():
        states.append("back")

    # In version 2 it hears no broadcast: those of Phoenix name no join, and it waits for one.
    options = {"protocol_version": "1.0", "heartbeat_interval_s": 0.3, "on_reconnect": back}
    async with PHXChannelsClient(url, "anything", **options) as client:
        try:
            await client.subscribe_to_topic("nobody:knows")
            raise AssertionError("it joined a topic that nobody knows")
        except PHXTopicError as refused:
            assert "unmatched topic" in str(refused), refused
        await client.subscribe_to_topic("room:py", ignore)
        client.add_event_handler("room:py", Event("said"), take)
        await asyncio.to_thread(publish, 1)
        await meanwhile("news", lambda: heard == [{"n": 1}])
        await asyncio.sleep(2.5)
        await asyncio.to_thread(publish, 2)
        await meanwhile("news after a silence", lambda: heard[-1] == {"n": 2})
        assert not states, states
        await asyncio.to_thread(ask, "restart")
        await meanwhile("it is back", lambda: states and client.is_topic_joined("room:py"))
        await asyncio.to_thread(publish, 3)
        await meanwhile("news after a kill", lambda: heard[-1] == {"n": 3})
        await client.unsubscribe_from_topic("room:py")
        await asyncio.to_thread(publish, 4)
        assert heard[-1] == {"n": 3}
        await client.subscribe_to_topic("room:py", ignore)


async def phx_events(url: str) -> None:
    from phx_events.client import PHXChannelsClient
    from phx_events.phx_messages import Event

    heard = []

    async def take(message, _client):
        heard.append(message.payload)

    for n in (1, 2):
        async with PHXChannelsClient(url, None) as client:
            joined = client.register_topic_subscription("room:py")
            client.register_event_handler(Event("said"), [take])
            running = asyncio.ensure_future(client.start_processing())
            await asyncio.wait_for(joined.wait(), ANSWER_SECONDS)
            await asyncio.to_thread(publish, n)
            await meanwhile("news", lambda: heard and heard[-1] == {"n": n})
            # It does not come back by itself: the program sees the end.
            await asyncio.to_thread(ask, "restart")
            await meanwhile("the end of the connection", running.done)


async def realtime(url: str) -> None:
    from realtime import AsyncRealtimeClient

    url = url.removesuffix("/websocket")
    client = AsyncRealtimeClient(url, None, auto_reconnect=True, hb_interval=1, initial_backoff=0.1)
    await client.connect()
    heard, present, states = [], [], []
    config = {"broadcast": {"ack": False, "self": True}, "presence": {"key": "ann"}}
    channel = client.channel("py", {"config": config})
    channel.on_broadcast("said", lambda message: heard.append(message["payload"]["n"]))
    channel.on_presence_sync(lambda: present.append(list(channel.presence_state())))

    await channel.subscribe(lambda state, _error: states.append(state.value))
    await meanwhile("it is subscribed", lambda: "SUBSCRIBED" in states)
    await channel.send_broadcast("said", {"n": 1})
    await meanwhile("its own broadcast", lambda: heard == [1])
    await channel.track({"mood": "fine"})
    await meanwhile("it is present", lambda: present and present[-1] == ["ann"])
    await asyncio.to_thread(ask, "restart")

    async def again():
        for n in range(2, 200):
            try:
                await channel.send_broadcast("said", {"n": n})
            except Exception:
                pass  # It has not seen the end yet, or is on its way back.
            await asyncio.sleep(0.2)
            if heard[-1] > 1:
                return

    await asyncio.wait_for(again(), 2 * ANSWER_SECONDS)
    assert heard[-1] > 1
    await channel.unsubscribe()
    await client.close()


CLIENTS = {
    "phxsocket": phxsocket,
    "chunnel": chunnel,
    "phoenix-channels-python-client": phoenix_channels,
    "phx-events": phx_events,
    "realtime": realtime,
}

finished = CLIENTS[sys.argv[1]](sys.argv[2])
if inspect.isawaitable(finished):
    asyncio.run(finished)
print(json.dumps({"do": "end"}), flush=True)
