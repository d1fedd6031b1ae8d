"""All operations with their HTTP methods and paths, and all channels."""

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
from svgx_common.contract.live import element_changes, element_events, locks, ui_events, undo
from svgx_common.contract.operation import Channel, Operation
from svgx_common.contract.storage import (
    backups,
    deletion,
    erasure,
    events,
    links,
    quotas,
    values,
    versions,
    webhooks,
)

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
    element_changes.CHANGE_ELEMENTS,  # POST /runtime/canvases/{canvas_id}/elements/batch
    ui_events.HANDLE_UI_EVENT,  # POST  /runtime/ui-event/
    undo.UNDO_EDIT,  #           POST   /runtime/undo/
    undo.REDO_EDIT,  #           POST   /runtime/redo/
    undo.UNDO_STATUS,  #         GET    /runtime/undo/
    locks.LOCK_OBJECT,  #        POST   /runtime/lock/
    locks.UNLOCK_OBJECT,  #      POST   /runtime/unlock/
    locks.LOCK_STATUS,  #        GET    /runtime/lock-status/
    # values under keys; the path for canvases comes first, because the first matching path is used
    values.PERSIST_VALUE,  #     POST   /state/persist/
    values.RETRIEVE_CANVAS,  #   GET    /state/retrieve/canvas_state_{canvas_id}
    values.RETRIEVE_VALUE,  #    GET    /state/retrieve/{key}
    values.DELETE_VALUE,  #      DELETE /state/retrieve/{key}
    values.LIST_VALUES,  #       GET    /state/values/
    ratelimits.GET_CONFIG,  #    GET    /security/rate-limits/config/
    ratelimits.SET_CONFIG,  #    PUT    /security/rate-limits/config/
    ratelimits.ANALYTICS,  #     GET    /security/rate-limits/analytics/
    # history
    versions.LIST_VERSIONS,  #   GET    /runtime/canvases/{canvas_id}/versions/
    versions.CREATE_VERSION,  #  POST   /runtime/canvases/{canvas_id}/versions/
    versions.GET_VERSION,  #     GET    /runtime/canvases/{canvas_id}/versions/{version_id}
    versions.RENAME_VERSION,  #  PATCH  /runtime/canvases/{canvas_id}/versions/{version_id}
    versions.DELETE_VERSION,  #  DELETE /runtime/canvases/{canvas_id}/versions/{version_id}
    versions.RESTORE_VERSION,  #  POST  /runtime/canvases/{canvas_id}/versions/{version_id}/restore
    versions.DIFF_VERSION,  #    GET    /runtime/canvases/{canvas_id}/versions/{version_id}/diff
    versions.THUMBNAIL,  #       GET    /runtime/canvases/{canvas_id}/versions/{version_id}/thumbnail
    versions.FIND_MOMENT,  #     GET    /runtime/canvases/{canvas_id}/moment
    versions.VERSION_BEFORE_IMPORT,
    # quotas
    quotas.GET_QUOTAS,  #        GET    /security/quotas/config/
    quotas.SET_QUOTAS,  #        PUT    /security/quotas/config/
    quotas.OWN_USAGE,  #         GET    /runtime/usage/
    quotas.CANVAS_USAGE,  #      GET    /runtime/canvases/{canvas_id}/usage
    quotas.USER_USAGE,  #        GET    /admin/users/{user_id}/usage
    quotas.TOP_USAGE,  #         GET    /admin/usage/
    # domain events
    webhooks.CREATE_WEBHOOK,  #  POST   /admin/webhooks/
    webhooks.LIST_WEBHOOKS,  #   GET    /admin/webhooks/
    webhooks.GET_WEBHOOK,  #     GET    /admin/webhooks/{webhook_id}
    webhooks.UPDATE_WEBHOOK,  #  PATCH  /admin/webhooks/{webhook_id}
    webhooks.ROTATE_WEBHOOK_SECRET,  # POST /admin/webhooks/{webhook_id}/rotate
    webhooks.DELETE_WEBHOOK,  #  DELETE /admin/webhooks/{webhook_id}
    webhooks.TEST_WEBHOOK,  #    POST   /admin/webhooks/{webhook_id}/test
    webhooks.LIST_DELIVERIES,  #  GET   /admin/webhooks/{webhook_id}/deliveries/
    webhooks.REDELIVER,  #       POST   /admin/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver
    # share links, deletion and erasure
    links.CREATE_LINK,  #        POST   /runtime/canvases/{canvas_id}/links/
    links.LIST_LINKS,  #         GET    /runtime/canvases/{canvas_id}/links/
    links.END_LINK,  #           DELETE /runtime/canvases/{canvas_id}/links/{link_id}
    deletion.RESTORE_CANVAS,  #  POST   /runtime/canvases/{canvas_id}/restore
    deletion.PURGE_CANVAS,  #    POST   /admin/canvases/{canvas_id}/purge
    erasure.ERASE_USER,  #       POST   /admin/users/{user_id}/erase
    links.CHECK_LINK,
    erasure.ERASE_AUTHOR,
    # backups and restores
    backups.CREATE_BACKUP,  #    POST   /state/backup/
    backups.LIST_BACKUPS,  #     GET    /state/backups/
    backups.GET_BACKUP,  #       GET    /state/backups/{backup_id}
    backups.VERIFY_BACKUP,  #    POST   /state/backups/{backup_id}/verify
    backups.DELETE_BACKUP,  #    DELETE /state/backups/{backup_id}
    backups.RESTORE_BACKUP,  #   POST   /state/restore/{backup_id}
    backups.LIST_RESTORES,  #    GET    /state/restores/
    backups.GET_RESTORE,  #      GET    /state/restores/{restore_id}
    backups.RESTORED_CANVASES,  #  GET    /state/restores/{restore_id}/canvases/
    # between services
    revocations.LIST_REVOCATIONS,
    api_keys.CHECK_API_KEY,
    auth.FIND_ACCOUNTS,
    audit.RECORD_AUDIT,
    state.CANVAS_ACCESS,
    state.JOURNAL_APPEND,
    state.JOURNAL_LOAD,
    ratelimits.STORED,
    ratelimits.STORE,
    quotas.QUOTA_REPORT,
    events.RECORD_EVENTS,
    collab.OPEN,
    # between services, for backups
    backups.EXPORT_ACCOUNTS,
    backups.IMPORT_ACCOUNTS,
    # between services, for restores
    collab.REPLACE_CONTENT,
)

CHANNELS: tuple[Channel[Any], ...] = (
    # from the gateways to the holder of a canvas
    collab.CANVAS_EDIT,
    collab.CANVAS_SYNC,
    collab.CANVAS_AWARENESS,
    # to all gateways
    collab.CANVAS_UPDATE,
    collab.CANVAS_PRESENCE,
    element_events.CANVAS_ELEMENTS,
    locks.CANVAS_LOCKS,
    # the links between gateways and the replicas of collab
    collab.LINK_TO_REPLICA,
    collab.LINK_TO_GATEWAY,
    # to all replicas of collab
    collab.REPLICA_LOAD,
    collab.LATE_COMMITS,
    # from one replica of collab to another
    collab.TAKE_CANVAS,
    # to all gateways and all replicas of collab
    state.CANVAS_ACCESS_CHANGED,
    # to all gateways
    ratelimits.RATE_LIMITS_CHANGED,
    quotas.QUOTAS_CHANGED,
    # to all gateways and all replicas of state
    revocations.REVOKED,
    # to all replicas of state
    values.VALUE_CHANGED,
    # to all gateways
    transport.REPLICA_LEFT,
    # to one gateway
    connections.GATEWAY_CONNECTIONS,
    # from a gateway to one replica
    transport.DRAIN_ORDER,
    # to programs of the operator
    *events.CHANNELS,
)


def operations_of(service: str) -> tuple[Operation[Any, Any], ...]:
    """Return the operations that one service answers."""
    return tuple(op for op in OPERATIONS if op.service == service)
