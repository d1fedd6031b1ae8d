"""The place of the backups together with the key that reads and writes them."""

from dataclasses import dataclass

from svgx_state.backups.format.sealing import Seal
from svgx_state.backups.format.target import Target


@dataclass(frozen=True, slots=True)
class Archive:
    """The target of the backups, and the seal of their objects."""

    target: Target
    seal: Seal
