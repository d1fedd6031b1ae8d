"""The role on a canvas, for each global role and membership."""

import pytest

from svgx_common.contract.policy import CanvasRole, Role
from svgx_state.permissions import effective_role

OWNER, EDITOR, VIEWER = CanvasRole.OWNER, CanvasRole.EDITOR, CanvasRole.VIEWER


@pytest.mark.parametrize(
    ("role", "member", "effective"),
    [
        (Role.ADMIN, None, OWNER),
        (Role.ADMIN, OWNER, OWNER),
        (Role.ADMIN, EDITOR, OWNER),
        (Role.ADMIN, VIEWER, OWNER),
        (Role.EDITOR, None, None),
        (Role.EDITOR, OWNER, OWNER),
        (Role.EDITOR, EDITOR, EDITOR),
        (Role.EDITOR, VIEWER, VIEWER),
        (Role.VIEWER, None, None),
        (Role.VIEWER, OWNER, VIEWER),
        (Role.VIEWER, EDITOR, VIEWER),
        (Role.VIEWER, VIEWER, VIEWER),
    ],
)
def test_effective_role_of_every_combination(
    role: Role, member: CanvasRole | None, effective: CanvasRole | None
) -> None:
    """Admins own all canvases, editors have the role of their membership, and viewers at most view.

    Proves R-STATE-11.
    """
    assert effective_role(role, member) == effective
