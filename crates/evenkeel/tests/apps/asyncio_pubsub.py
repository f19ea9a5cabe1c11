"""redis-py with asyncio: many listeners and speakers on channels, patterns and sharded channels, in both protocols.

    asyncio_pubsub.py HOST PORT
"""

import asyncio
import sys

import redis.asyncio as redis

host, port = sys.argv[1], int(sys.argv[2])
LISTENERS, MESSAGES = 20, 50


async def listen(client, names, patterns, ready, heard):
    async with client.pubsub() as channel:
        if names:
            await channel.subscribe(*names)
        if patterns:
            await channel.psubscribe(*patterns)
        confirmed = 0
        async for message in channel.listen():
            if message["type"].endswith("subscribe"):
                confirmed += 1
                if confirmed == len(names) + len(patterns):
                    ready.set()
                continue
            heard.append(message["data"])
            if message["data"] == b"end":
                return


async def check(protocol):
    client = redis.Redis(host=host, port=port, protocol=protocol)
    heard = [[] for _ in range(LISTENERS)]
    ready = [asyncio.Event() for _ in range(LISTENERS)]
    listeners = [
        asyncio.create_task(
            listen(client, ["news"] if n % 2 else [], [] if n % 2 else ["n?ws"], ready[n], heard[n])
        )
        for n in range(LISTENERS)
    ]
    await asyncio.gather(*(one.wait() for one in ready))
    assert dict(await client.pubsub_numsub("news"))[b"news"] == LISTENERS // 2
    assert await client.pubsub_numpat() >= 1
    for n in range(MESSAGES):
        assert await client.publish("news", f"message {n}") == LISTENERS
    await client.publish("news", "end")
    await asyncio.wait_for(asyncio.gather(*listeners), 30)
    expected = [f"message {n}".encode() for n in range(MESSAGES)] + [b"end"]
    assert all(one == expected for one in heard), heard
    async with client.pubsub() as channel:
        await channel.subscribe("work")
        async with client.pipeline(transaction=True) as pipe:
            results = await pipe.set("{a}x", 1).incr("{a}x").publish("work", "done").execute()
        assert results[:2] == [True, 2], results
        await asyncio.sleep(0)
        got = None
        while got is None or got["type"] != "message":
            got = await asyncio.wait_for(channel.get_message(timeout=5), 10)
        assert got["data"] == b"done"
    await client.aclose()


async def main():
    for protocol in (2, 3):
        await asyncio.wait_for(check(protocol), 90)
    print(f"asyncio: {LISTENERS} listeners, {MESSAGES} messages in order, both protocols")


asyncio.run(main())
