"""The process of a pod, which accepts connections at the given ports and opens connections on request.

The process runs in a network namespace of its own. Each line of its input is a JSON list of `[address, port]`. The
answer is a line with a JSON list that has, for each target, true if the connection was opened.
"""

import asyncio
import json
import sys

TIMEOUT = 3.0
"""Seconds without an answer after which a connection counts as refused."""


async def main(ports: list[int]) -> None:
    """Accept connections, and answer each line of the input until the input ends."""
    for port in ports:
        await asyncio.start_server(_accept, "0.0.0.0", port)
    print(json.dumps([]), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        targets = [(address, port) for address, port in json.loads(line)]
        print(json.dumps(await asyncio.gather(*(_can_open(*each) for each in targets))), flush=True)


async def _accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _can_open(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


if __name__ == "__main__":
    asyncio.run(main([int(each) for each in sys.argv[1:]]))
