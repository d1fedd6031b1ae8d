"""Log lines, as JSON or as readable text: without secrets, forged lines and control characters."""

import json
import logging
import time
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry import trace

from svgx_common import logs

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Restore the logging configuration after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer [redacted]"),
        (f"token {JWT} seen", "token [redacted] seen"),
        (f"a-b-{JWT}, eyJx-{JWT}", "a-b-[redacted], [redacted]"),
        (
            "GET /runtime/events/c?token=abc.def&saved=1",
            "GET /runtime/events/c?token=[redacted]&saved=1",
        ),
        ("/x?a=1&access_token=abc", "/x?a=1&access_token=[redacted]"),
        ("postgresql://user:hunter2@db:5432/svgx", "postgresql://user:[redacted]@db:5432/svgx"),
        ("postgresql://user:p@ss@db/svgx", "postgresql://user:[redacted]@db/svgx"),
        (
            "nats://a:b@one:1,nats://c:d@two:2",
            "nats://a:[redacted]@one:1,nats://c:[redacted]@two:2",
        ),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [redacted]"),
        ("host=db password=hunter2 user=u", "host=db password=[redacted] user=u"),
        ("/x?api_key=abc&a=1", "/x?api_key=[redacted]&a=1"),
        (f"key svgx_0123456789ab_{'aB-_' * 10}abc seen", "key svgx_0123456789ab_[redacted] seen"),
        (
            "GET /runtime/events/c?link=abc.def&saved=1",
            "GET /runtime/events/c?link=[redacted]&saved=1",
        ),
        (
            f"link svgxlink_0123456789ab_{'aB-_' * 10}abc seen",
            "link svgxlink_0123456789ab_[redacted] seen",
        ),
        ("the link: a=1", "the link: a=1"),
        (
            "Sec-WebSocket-Protocol: svgx, bearer.abc-def_ghi",
            "Sec-WebSocket-Protocol: svgx, bearer.[redacted]",
        ),
        ("the bearer of this, on a basic level", "the bearer of this, on a basic level"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_in_text_are_redacted(text: str, redacted: str) -> None:
    """Proves R-OBS-5: credentials are replaced, and other text is kept."""
    assert logs.redact(text) == redacted


def test_text_of_many_beginnings_of_a_token_is_redacted_in_linear_time() -> None:
    """Proves R-OBS-5: a client may send such a text, and a search of quadratic time would take seconds."""
    text = "eyJ-" * 60_000
    began = time.process_time()
    assert logs.redact(text) == text
    assert time.process_time() - began < 2


def test_messages_that_any_client_can_cause_are_not_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves R-OBS-5: three messages of libraries are not logged, and a failure of the application is logged."""
    logs.configure("state", "replica", "INFO", "json")
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.info('%s - "WebSocket %s" [accepted]', "127.0.0.1:1", "/a%3Ftoken=abc")
    uvicorn.error("ASGI callable returned without completing handshake.")
    logging.getLogger("opentelemetry.trace.span").warning("Invalid key/value pair found.")
    uvicorn.error("Exception in ASGI application\n")
    assert "Exception in ASGI application" in json.loads(capsys.readouterr().err)["event"]


def test_secrets_by_name_are_redacted_at_any_depth() -> None:
    """Proves R-OBS-5: the value of a key such as `password` is replaced, also within containers."""
    event = {
        "a": [{"password": "x", "Refresh_Token": "y", "n": 1}],
        "JWT_SECRET": "z",
        "api-key": 3,
        "count": 3,
    }
    assert logs.redact(event) == {
        "a": [{"password": logs.REDACTED, "Refresh_Token": logs.REDACTED, "n": 1}],
        "JWT_SECRET": logs.REDACTED,
        "api-key": logs.REDACTED,
        "count": 3,
    }


def test_secrets_in_other_objects_are_redacted() -> None:
    """Proves R-OBS-5: exceptions and other objects are replaced by their redacted text."""
    event = {"error": ValueError(f"Bearer {JWT}"), "seen": {JWT}, "pair": (b"x", 1.5, None, True)}
    assert logs.redact(event) == {
        "error": "ValueError('Bearer [redacted]')",
        "seen": [logs.REDACTED],
        "pair": ["b'x'", 1.5, None, True],
    }


def test_console_format_redacts_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    """Proves R-OBS-5: tracebacks are redacted also in log records of libraries, which contain the exception object."""
    logs.configure("state", "replica", "INFO", "console")
    try:
        raise ValueError(f"Bearer {JWT}")
    except ValueError as error:
        caught = error
        structlog.get_logger("ours").exception("failed here")
    logging.getLogger("theirs").error("failed there", exc_info=caught)
    shown = capsys.readouterr().err
    assert shown.count("Traceback (most recent call last)") == 2
    assert shown.count("ValueError: Bearer [redacted]") == 2
    assert JWT not in shown


def test_json_line_has_the_trace_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """Proves R-OBS-5 and R-OBS-4: lines of libraries have the same format as lines of the service."""
    logs.configure("state", "replica", "INFO", "json")
    context = trace.SpanContext(7, 9, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        structlog.get_logger("ours").info("happened", canvas_id="c", url=f"ws://x?token={JWT}")
    try:
        raise ValueError(f"Bearer {JWT}")
    except ValueError:
        logging.getLogger("theirs").exception("failed")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert ours["trace_id"] == f"{7:032x}"
    assert (ours["level"], ours["event"], ours["canvas_id"]) == ("INFO", "happened", "c")
    assert (ours["service"], ours["replica"]) == ("state", "replica")
    assert (theirs["level"], theirs["logger"]) == ("ERROR", "theirs")
    assert "ValueError" in theirs["exception"]
    assert JWT not in json.dumps([ours, theirs])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/x\n2026-01-01 [info] forged", r"/x\n2026-01-01 [info] forged"),
        ("/x\r\x1b[2J", r"/x\r\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u2028b\u202ec", r"a\u2028b\u202ec"),
        ("\udc80", r"\udc80"),
        ("/größe/画像 1", "/größe/画像 1"),
    ],
)
def test_console_format_escapes_control_characters(
    capsys: pytest.CaptureFixture[str], text: str, shown: str
) -> None:
    """Proves R-OBS-5: a client's path or close reason can neither forge a log line nor control the terminal."""
    logs.configure("state", "replica", "INFO", "console")
    structlog.get_logger("ours").info(f"began {text}", path=text, reasons=[text])
    logging.getLogger("theirs").warning("closed: %s", text)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert f"began {shown}" in lines[0]
    assert f"closed: {shown}" in lines[1]


def test_console_format_escapes_control_characters_of_an_exception(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves R-OBS-5: the text of an exception cannot control the terminal."""
    logs.configure("state", "replica", "INFO", "console")
    try:
        raise ValueError("\x1b[2Jcleared")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    assert r"ValueError: \x1b[2Jcleared" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("canvas_id", "ids"),
    [
        ("2f1c7a52-9a5e", "user_id=u canvas_id=2f1c7a52-9a5e"),
        ("x user_id=victim", "user_id=u"),
        ("x\tuser_id=victim", "user_id=u"),
        ("x\n", "user_id=u"),
        ("x" * 65, "user_id=u"),
        ("", "user_id=u"),
    ],
)
def test_searchable_ids_cannot_be_forged(
    capsys: pytest.CaptureFixture[str], canvas_id: str, ids: str
) -> None:
    """A search for `user_id=victim` does not find the line of the path `/runtime/events/x%20user_id=victim`.

    Proves R-OBS-9.
    """
    logs.configure("gateway", "replica", "INFO", "json")
    structlog.get_logger("ours").info("opened", user_id="u", canvas_id=canvas_id)
    line = json.loads(capsys.readouterr().err)
    assert (line["ids"], line["canvas_id"]) == (ids, canvas_id)
