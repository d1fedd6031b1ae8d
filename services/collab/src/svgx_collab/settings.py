"""The settings of the collab service."""

from pydantic import Field

from svgx_collab.bounds import Limits
from svgx_common.settings import RedisUrl, ServiceSettings


class CollabSettings(ServiceSettings):
    """The settings of the collab service, read from environment variables and the configuration file."""

    redis_url: RedisUrl = "redis://localhost:6379/0"
    import_workers: int = Field(2, ge=1, le=64)
    """Number of worker processes for imports. Each reads one import at a time.

    The imports of one account use at most half of the processes, rounded down, but at least one.
    """
    import_memory_bytes: int = Field(1024 * 1024 * 1024, ge=64 * 1024 * 1024)
    """Limit of a worker's address space, in bytes."""
    import_timeout_seconds: float = Field(30.0, gt=0, le=600)
    """Time limit for a worker to read one import, in seconds. Beyond it, the worker process is killed."""
    edit_seconds: float = Field(0.1, gt=0, le=10)
    """Limit of the processor time of one edit's integration, in seconds. Each struct adds 20 µs to the limit.
    Beyond it, the sender's connection is closed with 4413."""
    account_edit_seconds: float = Field(5.0, gt=0, le=600)
    """Burst allowance of an account, in seconds of processor time of its measured edits.

    Beyond it, edits are refused with 1013. Large edits and many deletions are measured. For some seconds after a slow
    transaction of a canvas, all its edits are measured.
    """
    account_edit_share: float = Field(0.02, gt=0, le=1)
    """The share of processor time that the measured edits of an account may take in the long run."""
    edit_max_clients: int = Field(10_000, ge=1)
    """Largest number of Yjs clients that one edit may add to a canvas. Beyond it, the edit is refused with 4413."""
    account_max_clients_per_hour: int = Field(20_000, ge=1)
    """Largest number of Yjs clients that an account's edits may add in an hour.

    Beyond it, edits are refused with 1013.
    """
    canvas_max_clients: int = Field(200_000, ge=1)
    """Largest number of Yjs clients of one canvas, including former ones.

    Beyond it, edits of further clients are refused with 4413.
    """
    canvas_max_structs: int = Field(4_000_000, ge=1)
    """Largest number of structs of one canvas, including deleted ones.

    Beyond it, edits that insert are refused with 4413.
    """
    canvas_transaction_share: float = Field(0.05, gt=0, le=1)
    """The share of processor time for the long transactions of one canvas.

    Beyond it, the canvas's broadcasts come later. The first 20 µs for each edit of a transaction do not count.
    """
    busy_canvas_share: float = Field(0.25, gt=0, le=1)
    """The share of processor time at which a canvas is busy, and moves to a reserved replica."""
    reserved: bool = False
    """Hold one canvas at a time, and only a canvas that took too much processor time on another replica. That replica
    hands the canvas over."""
    reserved_transaction_share: float = Field(0.5, gt=0, le=1)
    """The value of `canvas_transaction_share` on a reserved replica."""
    canvas_edit_share: float = Field(0.5, gt=0, le=1)
    """The share of processor time for receiving one canvas's edits: their checks, and the integration of large edits.
    Beyond it, the canvas's edits wait."""

    def limits(self) -> Limits:
        """Return the limits that these settings set for edits."""
        return Limits(
            edit_seconds=self.edit_seconds,
            account_seconds=self.account_edit_seconds,
            account_share=self.account_edit_share,
            edit_clients=self.edit_max_clients,
            account_clients=self.account_max_clients_per_hour,
            canvas_clients=self.canvas_max_clients,
            canvas_structs=self.canvas_max_structs,
            canvas_share=(
                self.reserved_transaction_share if self.reserved else self.canvas_transaction_share
            ),
            canvas_edit_share=self.canvas_edit_share,
        )
