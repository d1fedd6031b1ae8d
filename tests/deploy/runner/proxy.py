"""A program that forwards the connections to all Kubernetes services, in a process of its own.

The test process starts, probes and measures pods. A proxy in the test process would delay the traffic of the pods.

This file is run, not imported, and it can import only the standard library. It reads one JSON object from each line
of standard input. Each object has the `name` of a proxy, and one of two commands:

- `listen` has a host and a port, which is 0 for a free port. The program prints the port.
- `targets` has a list of addresses.

The program ends at the end of its standard input.
"""

import asyncio
import contextlib
import itertools
import json
import sys

CHUNK = 64 * 1024


class Proxy:
    """One listener. Each new connection goes to the next target in turn, or is closed if there are no targets."""

    def __init__(self) -> None:
        self.targets: list[tuple[str, int]] = []
        self._turns = itertools.count()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy bytes between the client and a target until either side closes."""
        try:
            if not self.targets:
                return
            host, port = self.targets[next(self._turns) % len(self.targets)]
            with contextlib.suppress(OSError):
                target_reader, target_writer = await asyncio.open_connection(host, port)
                try:
                    await copy_both((reader, target_writer), (target_reader, writer))
                finally:
                    target_writer.close()
        finally:
            writer.close()


async def copy_both(*directions: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Copy in both directions until either side closes."""
    copies = {asyncio.create_task(copy(*each)) for each in directions}
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in copies:
            each.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy bytes in one direction."""
    with contextlib.suppress(OSError):
        while chunk := await source.read(CHUNK):
            target.write(chunk)
            await target.drain()


async def main() -> None:
    """Execute the commands until the end of standard input."""
    proxies: dict[str, Proxy] = {}
    servers: list[asyncio.Server] = []
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    async for line in commands:
        command = json.loads(line)
        proxy = proxies.setdefault(command["name"], Proxy())
        if "listen" in command:
            server = await asyncio.start_server(proxy.serve, *command["listen"])
            servers.append(server)
            print(server.sockets[0].getsockname()[1], flush=True)
        else:
            proxy.targets = [(host, port) for host, port in command["targets"]]


if __name__ == "__main__":
    asyncio.run(main())
