"""The limit on repeated log lines."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from svgx_common import logs
from svgx_common.observability import repeated_lines
from svgx_common.observability.repeated_lines import (
    AUDIT_LOGGER,
    BURST,
    REFILL_SECONDS,
    UNLIMITED_LOGGER,
    RepeatedLines,
)
from tests.clock import Clock
from tests.log_reader import LogReader, read_logs


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the limit."""
    return Clock()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[LogReader]:
    """Return a reader of the log, which is written as a service writes it."""
    monkeypatch.setattr(logs, "RepeatedLines", lambda: RepeatedLines(clock))
    with read_logs("state") as reader:
        yield reader


def test_lasting_failure_is_written_in_intervals_with_the_number_left_out(
    clock: Clock, lines: LogReader
) -> None:
    """Proves R-OBS-8: after a burst, one line in each interval says how many lines were left out before it."""
    log = structlog.get_logger("test")
    for _ in range(100):
        log.warning("edits could not be saved", canvas_id="c", error="Unavailable")
    assert len(lines.read()) == BURST
    clock.now += REFILL_SECONDS
    for _ in range(5):
        log.warning("edits could not be saved", canvas_id="d", error="Unavailable")
    (line,) = lines.read()
    assert (line["left_out"], line["canvas_id"]) == (100 - BURST, "d")
    clock.now += REFILL_SECONDS
    log.warning("edits could not be saved", canvas_id="c", error="Unavailable")
    assert lines.read()[0]["left_out"] == 4
    clock.now += REFILL_SECONDS * BURST
    for _ in range(100):
        log.warning("edits could not be saved", canvas_id="c", error="Unavailable")
    burst = lines.read()
    assert len(burst) == BURST
    assert not any("left_out" in line for line in burst)


def test_lines_of_another_kind_are_not_left_out(lines: LogReader) -> None:
    """Proves R-OBS-8: another event, error, operation, exception or logger is another kind."""
    log = structlog.get_logger("test")

    def fail(error: Exception) -> None:
        try:
            raise error
        except Exception:
            log.exception("a handler failed")

    for _ in range(BURST + 1):
        log.warning("a", error="One")
        log.warning("a", error="Two")
        log.warning("a", operation="x", code="internal")
        log.error("b")
        fail(ValueError())
        fail(KeyError())
        logging.getLogger("theirs").error("number %d", 1)
        structlog.get_logger("other").error("b")
    assert len(lines.read()) == BURST * 8


def test_lines_of_libraries_and_tracebacks_are_limited(clock: Clock, lines: LogReader) -> None:
    """Proves R-OBS-8: repeated tracebacks are limited too.

    The text of a library's line states the number of lines that were left out.
    """
    for _ in range(BURST + 3):
        try:
            raise OSError
        except OSError:
            logging.getLogger("theirs").exception("attempt %s", "failed")
            structlog.get_logger("ours").exception("attempt failed")
    assert len(lines.read()) == 2 * BURST
    clock.now += REFILL_SECONDS
    logging.getLogger("theirs").error("attempt %s", "failed", exc_info=OSError())
    assert lines.read()[0]["event"] == "attempt failed (3 more such lines were left out)"


def test_info_lines_and_requests_of_accounts_are_never_left_out(
    lines: LogReader,
) -> None:
    """Proves R-OBS-7: each failed request of an account has its line.

    Proves R-AUTH-21: so has each operation of an admin that the audit log lacks.
    """
    for _ in range(BURST * 3):
        structlog.get_logger(AUDIT_LOGGER).error(
            "the audit log lacks an entry", error="unavailable"
        )
        structlog.get_logger(UNLIMITED_LOGGER).error("request failed", code="unavailable")
        structlog.get_logger("test").info("holding a canvas")
    assert len(lines.read()) == BURST * 9


def test_number_of_remembered_kinds_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-OBS-8: the least recent kind is forgotten, so that many different texts do not fill the memory."""
    monkeypatch.setattr(repeated_lines, "MAX_KINDS", 3)
    limit = RepeatedLines()

    def passes(text: str) -> bool:
        return limit.filter(logging.LogRecord("x", logging.ERROR, "", 0, text, None, None))

    for text in ("a", "b", "c"):
        assert [passes(text) for _ in range(BURST + 1)][-1] is False
    assert passes("d")
    assert passes("a")  # it was forgotten
    assert not passes("c")
