"""Programs of Debian packages that some tests need. `.ci/run` installs all except curl, which CI's image has."""

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """Return the path of a program. If it is missing, skip the test, or fail the test if `CI` is set."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is not None:
        return path
    message = f"{name} is not installed: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
