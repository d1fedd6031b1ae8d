"""The target of the backups, and the seal that compresses and encrypts their objects."""

from dataclasses import dataclass

from svgx_state.backups.format.sealing import Seal
from svgx_state.backups.format.target import Target


@dataclass(frozen=True, slots=True)
class Archive:
    """The target of the backups, and the seal of their objects."""

    target: Target
    seal: Seal
