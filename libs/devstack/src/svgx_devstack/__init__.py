"""Run the whole SVGX stack on one machine: NATS, PostgreSQL, Valkey and the services as processes.

`make run` is `python -m svgx_devstack`. The tests use `DevStack` to start, kill, pause and restart the real servers
and services.
"""

from svgx_devstack.errors import StackError
from svgx_devstack.process import Process
from svgx_devstack.stack import DevStack

__all__ = ["DevStack", "Process", "StackError"]
