"""The settings of the collab service."""

from pydantic import Field

from svgx_collab.bounds import Limits
from svgx_common.settings import RedisUrl, ServiceSettings


class CollabSettings(ServiceSettings):
    """The settings of the collab service, read from environment variables and the configuration file."""

    redis_url: RedisUrl = "redis://localhost:6379/0"
    import_workers: int = Field(2, ge=1, le=64)
    """Worker processes for imports. Each reads one import at a time.

    One account may use half of the processes, and at least one.
    """
    import_memory_bytes: int = Field(1024 * 1024 * 1024, ge=64 * 1024 * 1024)
    """Bytes of address space that one worker may use."""
    import_timeout_seconds: float = Field(30.0, gt=0, le=600)
    """Seconds that a worker may take to read one import. After this time, the worker process is killed."""
    edit_seconds: float = Field(0.1, gt=0, le=10)
    """Seconds of processor time for the integration of one edit, plus 20 µs for each struct. Past that, the sender's
    connection is closed with 4413."""
    account_edit_seconds: float = Field(5.0, gt=0, le=600)
    """Seconds of processor time that the measured edits of an account may take at once. Past that, edits are refused
    with 1013. Measured edits are large edits, and all edits in the seconds after a slow transaction."""
    account_edit_share: float = Field(0.02, gt=0, le=1)
    """Seconds of processor time that the measured edits of an account may take in each second, in the long run."""
    edit_max_clients: int = Field(10_000, ge=1)
    """Yjs clients that one edit may add to a canvas. Past that, the edit is refused with 4413."""
    account_max_clients_per_hour: int = Field(20_000, ge=1)
    """Yjs clients that the edits of an account may add in an hour. Past that, edits are refused with 1013."""
    canvas_max_clients: int = Field(200_000, ge=1)
    """Yjs clients of one canvas, including former ones. Past that, edits of further clients are refused with 4413."""
    canvas_max_structs: int = Field(4_000_000, ge=1)
    """Structs of one canvas, also deleted ones. Past that, edits that insert are refused with 4413."""
    canvas_transaction_share: float = Field(0.05, gt=0, le=1)
    """The share of processor time for the long transactions of one canvas. Past this share, the canvas's broadcasts
    come later. Only the time of these transactions beyond 20 µs for each edit counts."""
    busy_canvas_share: float = Field(0.25, gt=0, le=1)
    """The share of processor time beyond which a canvas is busy, and moves to a reserved replica."""
    reserved: bool = False
    """Hold one canvas at a time, and only a canvas that took too much processor time on another replica. That replica
    hands the canvas over."""
    reserved_transaction_share: float = Field(0.5, gt=0, le=1)
    """The value of `canvas_transaction_share` on a reserved replica."""
    canvas_edit_share: float = Field(0.5, gt=0, le=1)
    """The share of processor time for taking the edits of one canvas, including the integration of large edits.
    Past this share, the canvas's edits wait."""

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
