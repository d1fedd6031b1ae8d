"""The system on one screen: every operation with its HTTP form, and every channel."""

from typing import Any

from svgx_common.contract import (
    api_keys,
    audit,
    auth,
    collab,
    oidc,
    ratelimits,
    revocations,
    state,
    transport,
)
from svgx_common.contract.administration import canvases, connections, replicas, sessions
from svgx_common.contract.operation import Channel, Operation
from svgx_common.contract.storage import values

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    # operation                  HTTP
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
    sessions.LIST_USER_SESSIONS,  #  GET    /admin/users/{user_id}/sessions/
    sessions.END_USER_SESSION,  #    DELETE /admin/users/{user_id}/sessions/{session_id}
    sessions.END_USER_SESSIONS,  #   DELETE /admin/users/{user_id}/sessions/
    canvases.USER_CANVASES,  #   GET    /admin/users/{user_id}/canvases/
    canvases.LARGEST_CANVASES,  #  GET    /admin/canvases/largest/
    connections.LIST_CONNECTIONS,  #  GET    /admin/connections/
    replicas.DRAIN_REPLICA,  #   POST   /admin/replicas/{service}/{replica_id}/drain
    audit.LIST_AUDIT,  #         GET    /admin/audit/
    state.CREATE_CANVAS,  #      POST   /runtime/canvases/
    state.LIST_CANVASES,  #      GET    /runtime/canvases/
    state.GET_CANVAS,  #         GET    /runtime/canvases/{canvas_id}
    state.RENAME_CANVAS,  #      PATCH  /runtime/canvases/{canvas_id}
    state.DELETE_CANVAS,  #      DELETE /runtime/canvases/{canvas_id}
    canvases.LIST_MEMBERS,  #    GET    /runtime/canvases/{canvas_id}/members/
    state.GET_MEMBER,  #         GET    /runtime/canvases/{canvas_id}/members/{user_id}
    state.SET_MEMBER,  #         PUT    /runtime/canvases/{canvas_id}/members/{user_id}
    state.REMOVE_MEMBER,  #      DELETE /runtime/canvases/{canvas_id}/members/{user_id}
    state.EXPORT,  #             GET    /runtime/canvases/{canvas_id}/export
    collab.IMPORT_SVG,  #        PUT    /runtime/canvases/{canvas_id}/svg
    # values under keys; the path of a canvas's key comes before the one of any key
    values.PERSIST_VALUE,  #     POST   /state/persist/
    values.RETRIEVE_CANVAS,  #   GET    /state/retrieve/canvas_state_{canvas_id}
    values.RETRIEVE_VALUE,  #    GET    /state/retrieve/{key}
    values.DELETE_VALUE,  #      DELETE /state/retrieve/{key}
    values.LIST_VALUES,  #       GET    /state/values/
    ratelimits.GET_CONFIG,  #    GET    /security/rate-limits/config/
    ratelimits.SET_CONFIG,  #    PUT    /security/rate-limits/config/
    ratelimits.ANALYTICS,  #     GET    /security/rate-limits/analytics/
    # between services
    revocations.LIST_REVOCATIONS,
    api_keys.CHECK_API_KEY,
    auth.FIND_ACCOUNTS,
    state.CANVAS_ACCESS,
    state.JOURNAL_APPEND,
    state.JOURNAL_LOAD,
    ratelimits.STORED,
    ratelimits.STORE,
    collab.OPEN,
)

CHANNELS: tuple[Channel[Any], ...] = (
    # from the gateways to the holder of a canvas
    collab.CANVAS_EDIT,
    collab.CANVAS_SYNC,
    collab.CANVAS_AWARENESS,
    # to all gateways
    collab.CANVAS_UPDATE,
    collab.CANVAS_PRESENCE,
    state.CANVAS_ACCESS_CHANGED,
    ratelimits.RATE_LIMITS_CHANGED,
    revocations.REVOKED,
    # to all replicas of state
    values.VALUE_CHANGED,
    transport.REPLICA_LEFT,
    # to one gateway
    connections.GATEWAY_CONNECTIONS,
    # from a gateway to one replica
    transport.DRAIN_ORDER,
)


def operations_of(service: str) -> tuple[Operation[Any, Any], ...]:
    """Return the operations that one service answers."""
    return tuple(op for op in OPERATIONS if op.service == service)
