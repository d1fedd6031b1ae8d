"""The cursors of state's lists."""

from svgx_common.cursors import Cursor

__all__ = ["Cursor"]
