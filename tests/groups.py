"""Groups of test files. All files of a group run in one process, one after another, and share a stack.

The start and the stop of a stack take 12 seconds of processor time.
"""

from xdist.scheduler.loadfile import LoadFileScheduling  # type: ignore[import-untyped]

GROUPS = {
    # These files use the fixture `killed_stack`. The first needs new processes, because it measures their memory. The
    # second expects no error in the logs of the processes, so it runs before the files that kill processes.
    "killed processes": (
        "tests/e2e/documents/test_large_canvas.py",
        "tests/e2e/realtime/test_frame_fuzz.py",
        "tests/e2e/failures/test_failures.py",
        "tests/e2e/failures/test_stack_restart.py",
    ),
    # These files use `changed_stack`. The first needs the state of a new stack. The last changes accounts
    # and limits at random.
    "changed accounts": (
        "tests/e2e/openapi/test_docs.py",
        "tests/e2e/accounts/test_role_matrix.py",
        "tests/e2e/openapi/test_openapi_fuzz.py",
    ),
    # These files use `configured_stack`.
    "configuration": (
        "tests/e2e/operations/test_signing_keys.py",
        "tests/e2e/operations/test_configuration.py",
    ),
}
"""The files of each group, in the order in which they run."""

ALONE = (
    "tests/e2e/failures/test_on_call_drill.py",
    "tests/e2e/failures/test_rolling_update.py",
    "tests/e2e/accounts/test_oidc.py",
    "tests/e2e/operations/test_benchmark.py",
    "tests/e2e/operations/test_traces.py",
    "tests/deploy/test_chart_runner.py",
)
"""Long files with a stack of their own."""

SHARED = (
    "tests/e2e/",
    "tests/deploy/operations/",
    "tests/deploy/test_nginx.py",
    "tests/deploy/test_prometheus.py",
    "tests/integration/devstack/test_stack.py",
)
"""Files and folders that run in one group, except those of `GROUPS` and `ALONE`. Most of them use `stack`."""

SHARED_STACK = "shared stack"
"""The name of the group of all files in `SHARED`."""

_ORDERED = [*(file for files in GROUPS.values() for file in files), *ALONE]
_GROUP_OF = {file: group for group, files in GROUPS.items() for file in files}


def group_of(file: str) -> str:
    """Return the name of a file's group. The path is relative to the repository."""
    if file in _ORDERED or not file.startswith(SHARED):
        return _GROUP_OF.get(file, file)
    return SHARED_STACK


def rank_of(file: str) -> int:
    """Return the place of a file in the order of a run. Files of equal rank keep their order.

    Long groups start first, because a long group at the end would keep one process busy alone.
    """
    if file in _ORDERED:
        return 1 + _ORDERED.index(file)
    return 0 if file.startswith(SHARED) else 1 + len(_ORDERED)


def is_last(file: str, next_file: str) -> bool:
    """Return whether `file` belongs to a group with a shared stack, and `next_file` to another group.

    If so, the stack of `file`'s group may be stopped.
    """
    group = group_of(file)
    return group != group_of(next_file) and (group in GROUPS or group == SHARED_STACK)


class GroupScheduling(LoadFileScheduling):  # type: ignore[misc]
    """A scheduler that gives all tests of a group to one process."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(super()._split_scope(nodeid))
