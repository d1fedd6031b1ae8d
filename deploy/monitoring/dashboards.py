"""Write each service's dashboards into its chart, and the dashboards of the whole system into the umbrella chart."""

from pathlib import Path

from deploy.monitoring.board import Board, as_json
from deploy.monitoring.boards.backups import BACKUPS
from deploy.monitoring.boards.collaboration import COLLABORATION
from deploy.monitoring.boards.edits import EDITS
from deploy.monitoring.boards.errors import ERRORS
from deploy.monitoring.boards.overview import OVERVIEW
from deploy.monitoring.boards.quotas_and_events import QUOTAS_AND_EVENTS
from deploy.monitoring.boards.resources import RESOURCES
from deploy.monitoring.boards.service import service_board
from svgx_common.contract.operation import SERVICES

HELM = Path(__file__).parents[1] / "helm"

BOARDS: dict[str, tuple[Board, ...]] = {
    "svgx": (OVERVIEW, COLLABORATION, ERRORS, RESOURCES, EDITS, BACKUPS),
    **{service: (service_board(service),) for service in SERVICES},
    "state": (service_board("state"), QUOTAS_AND_EVENTS),
}
"""The dashboards of each chart."""


def files() -> dict[Path, str]:
    """Return the path and the JSON of each dashboard's file."""
    return {
        HELM / chart / "dashboards" / f"{board.name}.json": as_json(board)
        for chart, boards in BOARDS.items()
        for board in boards
    }


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
