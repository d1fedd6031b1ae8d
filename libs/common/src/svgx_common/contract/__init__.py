"""The system on one screen: every operation, with the service that answers it and the HTTP form it has."""

from typing import Any

from svgx_common.contract import api_keys, audit, auth, collab, oidc, ratelimits, revocations, state
from svgx_common.contract.operation import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    # subject                    HTTP
    auth.LOGIN,  #               POST   /auth/login
    auth.REFRESH,  #             POST   /auth/refresh
    oidc.OIDC_LOGIN,  #          GET    /auth/oidc/{provider}/login
    oidc.OIDC_CALLBACK,  #       GET    /auth/oidc/{provider}/callback
    auth.JWKS,  #                GET    /.well-known/jwks.json
    auth.ME,  #                  GET    /auth/me
    auth.LOGOUT,  #              POST   /auth/logout
    auth.LIST_SESSIONS,  #       GET    /auth/sessions/
    auth.END_SESSION,  #         DELETE /auth/sessions/{session_id}
    auth.CHANGE_PASSWORD,  #     POST   /auth/password
    api_keys.CREATE_API_KEY,  #  POST   /auth/api-keys/
    api_keys.LIST_API_KEYS,  #   GET    /auth/api-keys/
    api_keys.END_API_KEY,  #     DELETE /auth/api-keys/{key_id}
    auth.CREATE_USER,  #         POST   /admin/users/
    auth.LIST_USERS,  #          GET    /admin/users/
    auth.GET_USER,  #            GET    /admin/users/{user_id}
    auth.UPDATE_USER,  #         PATCH  /admin/users/{user_id}
    auth.DELETE_USER,  #         DELETE /admin/users/{user_id}
    auth.RESTORE_USER,  #        POST   /admin/users/restore/
    audit.LIST_AUDIT,  #         GET    /admin/audit/
    state.CREATE_CANVAS,  #      POST   /runtime/canvases/
    state.LIST_CANVASES,  #      GET    /runtime/canvases/
    state.GET_CANVAS,  #         GET    /runtime/canvases/{canvas_id}
    state.RENAME_CANVAS,  #      PATCH  /runtime/canvases/{canvas_id}
    state.DELETE_CANVAS,  #      DELETE /runtime/canvases/{canvas_id}
    state.GET_MEMBER,  #         GET    /runtime/canvases/{canvas_id}/members/{user_id}
    state.SET_MEMBER,  #         PUT    /runtime/canvases/{canvas_id}/members/{user_id}
    state.REMOVE_MEMBER,  #      DELETE /runtime/canvases/{canvas_id}/members/{user_id}
    state.EXPORT,  #             GET    /runtime/canvases/{canvas_id}/export
    collab.IMPORT_SVG,  #        PUT    /runtime/canvases/{canvas_id}/svg
    ratelimits.GET_CONFIG,  #    GET    /security/rate-limits/config/
    ratelimits.SET_CONFIG,  #    PUT    /security/rate-limits/config/
    ratelimits.ANALYTICS,  #     GET    /security/rate-limits/analytics/
    # services only
    revocations.LIST_REVOCATIONS,
    api_keys.CHECK_API_KEY,
    state.CANVAS_ACCESS,
    state.JOURNAL_APPEND,
    state.JOURNAL_LOAD,
    ratelimits.STORED,
    ratelimits.STORE,
    collab.OPEN,
)


def operations_of(service: str) -> tuple[Operation[Any, Any], ...]:
    """The operations one service answers."""
    return tuple(op for op in OPERATIONS if op.service == service)
