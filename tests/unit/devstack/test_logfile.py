"""The last line of a log file. A small log file is not rotated."""

from pathlib import Path

from svgx_devstack import logfile


def test_last_line_skips_blank_lines(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert logfile.last_line(log) == ""
    log.write_text("first\n" + "y" * 20_000 + "\nlast\n\n")
    assert logfile.last_line(log) == "last"


def test_last_line_of_postgres_is_the_reason_of_its_end(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("FATAL:  could not bind\nLOG:  database system is shut down\n")
    assert logfile.last_line(log) == "FATAL:  could not bind"


def test_small_log_is_not_rotated(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    # A missing log causes no error.
    logfile.rotate(log)
    log.write_text("small")
    logfile.rotate(log)
    assert log.read_text() == "small"
    assert not (tmp_path / "x.log.1").exists()
