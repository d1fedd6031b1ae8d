"""Only warnings and errors are read from the services' logs."""

import json
from pathlib import Path

from svgx_devstack import logfile
from svgx_devstack.log_warnings import WarningReader


def _line(level: str, event: str) -> str:
    return json.dumps({"level": level, "event": event}) + "\n"


def test_new_warnings_are_read_once(tmp_path: Path) -> None:
    log = tmp_path / "state.log"
    log.write_text(_line("ERROR", "of an earlier run"))
    reader = WarningReader("state", log)
    assert reader.read() == []
    with log.open("a") as file:
        file.write(
            _line("INFO", "started") + "Traceback\n" + _line("WARNING", "slow") + '{"level": "ERR'
        )
    assert reader.read() == ["state: warning: slow"]
    with log.open("a") as file:
        file.write('OR", "event": "lost"}\n')
    assert reader.read() == ["state: error: lost"]


def test_many_warnings_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "state.log"
    reader = WarningReader("state", log)
    assert reader.read() == []  # no file yet
    log.write_text(_line("WARNING", "again") * 12)
    shown = reader.read()
    assert len(shown) == 6
    assert shown[-1] == f"state: 7 more warnings: see {log}"


def test_rotated_log_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "state.log"
    log.write_text(_line("INFO", "x") * 100)
    reader = WarningReader("state", log)
    logfile.rotate(log, limit=100)
    assert (tmp_path / "state.log.1").stat().st_size == 100 * len(_line("INFO", "x"))
    log.write_text(_line("WARNING", "after"))
    assert reader.read() == ["state: warning: after"]
