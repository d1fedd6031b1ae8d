"""The terminal gets warnings and nothing else from the services' logs."""

import json
from pathlib import Path

from svgx_devstack import logfile
from svgx_devstack.warnings_shown import Follower


def _line(level: str, event: str) -> str:
    return json.dumps({"level": level, "event": event}) + "\n"


def test_only_new_warnings(tmp_path: Path) -> None:
    log = tmp_path / "state.log"
    log.write_text(_line("ERROR", "of an earlier run"))
    follower = Follower("state", log)
    assert follower.look() == []
    with log.open("a") as file:
        file.write(
            _line("INFO", "started") + "Traceback\n" + _line("WARNING", "slow") + '{"level": "ERR'
        )
    assert follower.look() == ["state: warning: slow"]
    with log.open("a") as file:
        file.write('OR", "event": "lost"}\n')
    assert follower.look() == ["state: error: lost"]


def test_a_flood_is_counted(tmp_path: Path) -> None:
    log = tmp_path / "state.log"
    follower = Follower("state", log)
    assert follower.look() == []  # no file yet
    log.write_text(_line("WARNING", "again") * 12)
    shown = follower.look()
    assert len(shown) == 6
    assert shown[-1] == f"state: 7 more warnings: see {log}"


def test_after_rotation(tmp_path: Path) -> None:
    log = tmp_path / "state.log"
    log.write_text(_line("INFO", "x") * 100)
    follower = Follower("state", log)
    logfile.rotate(log, limit=100)
    assert (tmp_path / "state.log.1").stat().st_size == 100 * len(_line("INFO", "x"))
    log.write_text(_line("WARNING", "after"))
    assert follower.look() == ["state: warning: after"]
