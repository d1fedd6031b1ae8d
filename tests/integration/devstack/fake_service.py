"""Run a fake service: `fake_service.py PORT` answers /health/ready, and ends on SIGTERM with status 3.

`fake_service.py PORT deaf` ignores SIGTERM. `fake_service.py PORT broken` ends at once with status 7.
"""

import asyncio
import signal
import sys


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def main(port: int, kind: str) -> int:
    if kind == "broken":
        print("the setting X is wrong", flush=True)
        return 7
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, (lambda: None) if kind == "deaf" else ended.set)
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    print("listening", flush=True)
    await ended.wait()
    server.close()
    return 3


sys.exit(asyncio.run(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")))
