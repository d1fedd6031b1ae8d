"""Groups of test files in `make test`."""

from tests import groups


def test_stack_ends_after_the_last_file_of_its_group() -> None:
    """A stack keeps running for the next file of its group. A file that shares no stack ends no stack."""
    first, *_, last = groups.GROUPS["killed processes"]
    alone = groups.ALONE[0]
    assert not groups.is_last(first, last)
    assert groups.is_last(last, alone)
    assert not groups.is_last("tests/e2e/http/test_http.py", "tests/deploy/test_nginx.py")
    assert groups.is_last("tests/deploy/test_nginx.py", "tests/unit/yjs/test_protocol.py")
    assert not groups.is_last("tests/unit/yjs/test_protocol.py", alone)
