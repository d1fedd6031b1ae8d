"""Start NATS, PostgreSQL and Valkey in parallel, then the services in parallel, and stop all of them in order."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from svgx_devstack import orphans, ports, services
from svgx_devstack.backing import nats, postgres, valkey
from svgx_devstack.errors import StackError
from svgx_devstack.home import Home
from svgx_devstack.process import Process, Report, log_report
from svgx_devstack.program import Program

_BACKING_SERVERS = ("valkey", "nats", "postgres")
_START_SECONDS = 60.0
"""Time limit for a started process to become ready, in seconds. Beyond it, the stack's start fails."""

_MAX_EXITS = 2
"""Maximum number of exits of a process before it is ready. Beyond it, restarts do not help: the stack's start fails."""


class DevStack:
    """NATS, PostgreSQL, Valkey and the services as processes that share one folder.

    - `home`: the folder. A later stack with the same folder has the same data, users and passwords.
    - `api_port`: the gateway's port, or 0 for a free port. A free port is stored in the folder for later starts.
    - `settings`: environment variables for all services.
    - `report`: receives one line for each event that concerns the user.
    """

    def __init__(
        self,
        home: Path,
        *,
        api_port: int = 0,
        settings: Mapping[str, str] | None = None,
        report: Report = log_report,
    ) -> None:
        self._home = Home(home)
        self._api_port = api_port
        self._settings = dict(settings or {})
        self._report = report
        self._processes: dict[str, Process] = {}
        self._ports: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.down()

    async def up(self, backing_only: bool = False) -> None:
        """Start all processes and wait until they are ready. With `backing_only`, start no service.

        Removes PostgreSQL's variables (`PG*`) from the environment of this process, so that the whole stack and its
        clients here use the stack's PostgreSQL.

        Raises `StackError` with one line that states the remedy, after all processes were stopped.
        """
        postgres.remove_variables()
        self._home.open()
        try:
            for name in orphans.kill_recorded(self._home.pids):
                self._report(f"killed {name}, which an earlier stack had left running")
            self._claim_api_port()
            await self._start_backing()
            if not backing_only:
                for service in services.NAMES:
                    self._ports[service] = self._service_port(service)
                await _run_together(
                    self._start(self._service(name, name)) for name in services.NAMES
                )
        except BaseException as error:
            await self.down()
            if isinstance(error, OSError):  # such as a full disk
                raise StackError(f"cannot start the stack in {self.home}: {error}") from error
            raise

    async def down(self) -> None:
        """Stop all processes in order: gateway, collab, state, auth, Valkey, NATS, PostgreSQL. Data is kept."""
        for program in (*services.NAMES, *_BACKING_SERVERS):
            group = [
                process
                for name, process in self._processes.items()
                if _program_name(name) == program
            ]
            await asyncio.gather(*(process.stop() for process in group))
        self._processes.clear()
        self._ports.clear()
        self._home.close()

    def kill(self) -> None:
        """Send SIGKILL to all processes at once. Call `down()` afterwards."""
        for process in self._processes.values():
            process.restart = False
            process.kill()

    @property
    def home(self) -> Path:
        """The absolute path of the folder."""
        return self._home.path

    @property
    def url(self) -> str:
        """The gateway's address, without a slash at the end."""
        return self.service_url("gateway")

    @property
    def admin_username(self) -> str:
        """The name of the account that the first start creates."""
        return services.ADMIN_USERNAME

    @property
    def admin_password(self) -> str:
        """The password of the account `admin_username`, random for each folder."""
        return self._home.secret("admin")

    @property
    def jwt_secret(self) -> str:
        """The secret that signs access tokens, unless a setting or the user's environment sets `JWT_SECRET`."""
        return self._home.secret("jwt")

    @property
    def postgres_url(self) -> str:
        """The address of the services' database, with the password."""
        return postgres.url(self._home)

    def postgres_superuser_url(self, database: str) -> str:
        """Return the address of a PostgreSQL database, with the superuser's name and password."""
        return postgres.superuser_url(self._home, database)

    @property
    def redis_url(self) -> str:
        """The address of Valkey, with the password."""
        return valkey.url(self._home)

    def nats_url(self, user: str) -> str:
        """Return the address of NATS for a user: a service, such as `auth`, or `operator` with all permissions."""
        return nats.url(self._home, user)

    def service_url(self, name: str) -> str:
        """Return the HTTP address of one process, such as `state` or `gateway-2`."""
        return f"http://{ports.HOST}:{self.port(name)}"

    def port(self, name: str) -> int:
        """Return the HTTP port of one process."""
        return self._ports[name]

    def process(self, name: str) -> Process:
        """Return a process by name: `nats`, `postgres`, `valkey`, a service, or a replica such as `collab-2`."""
        return self._processes[name]

    @property
    def processes(self) -> Sequence[Process]:
        """All processes, in the order in which they were started."""
        return tuple(self._processes.values())

    def log_path(self, name: str) -> Path:
        """Return the path of a process's log, also before its start."""
        return self._home.logs / f"{name}.log"

    def write_dev_env(self, url: str) -> Path:
        """Write `dev.env` into the folder: the address and the admin account for scripts, as `NAME=value` lines."""
        lines = {
            "SVGX_URL": url,
            "SVGX_ADMIN_USERNAME": self.admin_username,
            "SVGX_ADMIN_PASSWORD": self.admin_password,
        }
        return self._home.write_private(
            "dev.env", "".join(f"{name}={value}\n" for name, value in lines.items())
        )

    async def add_replica(self, service: str, *, settings: Mapping[str, str] | None = None) -> str:
        """Start one more process of a service, wait until it is ready, and return its name.

        `settings` are added to the stack's settings, and override them.
        """
        if service not in services.NAMES:
            raise KeyError(f"no service {service!r}: use one of {', '.join(services.NAMES)}")
        number = 2
        while f"{service}-{number}" in self._processes:
            number += 1
        name = f"{service}-{number}"
        self._ports[name] = self._home.port(name)
        try:
            await self._start(self._service(service, name, settings or {}))
        except BaseException:
            await self.remove_replica(name)
            raise
        return name

    async def remove_replica(self, name: str) -> None:
        """Stop a replica that `add_replica` started."""
        await self._processes[name].stop()
        del self._processes[name]
        del self._ports[name]

    async def _start_backing(self) -> None:
        home = self._home
        programs = (nats.program(home), valkey.program(home))
        await _run_together((*map(self._start, programs), self._start_postgres()))

    async def _start_postgres(self) -> None:
        if postgres.is_new(self._home):
            self._report("postgres … creating the database folder")
        await self._start(await asyncio.to_thread(postgres.program, self._home))
        await postgres.prepare(self._home)

    async def _start(self, program: Program) -> None:
        began = time.monotonic()
        process = Process(program, self._report)
        self._processes[program.name] = process
        await process.start()
        try:
            await process.wait_ready(_START_SECONDS, max_exits=_MAX_EXITS)
        except TimeoutError as error:
            raise StackError(str(error)) from error
        self._report(f"{program.name} … ready in {time.monotonic() - began:.1f} s")

    def _service(
        self, service: str, name: str, settings: Mapping[str, str] | None = None
    ) -> Program:
        all_settings = {**self._settings, **(settings or {})}
        return services.program(self._home, service, name, self._ports[name], all_settings)

    def _service_port(self, service: str) -> int:
        if service == "gateway" and self._api_port:
            return self._api_port
        return self._home.port(service)

    def _claim_api_port(self) -> None:
        if not self._api_port:
            return
        self._home.reserve(self._api_port)
        if not ports.claim(self._api_port):
            raise StackError(
                f"port {self._api_port} is taken by another program or stack: "
                f"stop it, or choose another port, such as `API_PORT={ports.choose()} make run`"
            )


async def _run_together(starts: Iterable[Coroutine[None, None, None]]) -> None:
    """Run all coroutines at the same time. When one fails, cancel the others and raise the error of the failed one."""
    try:
        async with asyncio.TaskGroup() as group:
            for start in starts:
                group.create_task(start)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _program_name(name: str) -> str:
    """Return the name of a process without its replica number: `collab` for `collab-2`."""
    return name.partition("-")[0]
