"""The dashboard "SVGX Engine Overview": the health and the speed of all services."""

from deploy.monitoring.board import Board, Panel, Row
from deploy.monitoring.boards.queries import (
    ERROR_SHARE,
    FAILED_REQUESTS,
    JOBS,
    LOOP_LAG,
    NOT_RESERVED,
    OLDEST_UNSAVED,
    RESERVED,
    SAVED_LATE,
    percentile,
    rate,
    total,
)

CERTIFICATE = "certmanager_certificate_expiration_timestamp_seconds"

OVERVIEW = Board(
    "svgx-overview",
    "SVGX Engine Overview",
    "Health and speed of all services.",
    [
        Row(
            "Now",
            [
                Panel(
                    "Ready replicas",
                    "Replicas that answer `/health/ready` with 200. Reserved collab replicas are counted separately.",
                    "none",
                    [
                        total("svgx_engine_ready", "component", NOT_RESERVED),
                        total("svgx_engine_ready", "service", RESERVED),
                    ],
                    limit=1,
                    stat=True,
                    red_below=True,
                ),
                SAVED_LATE,
                FAILED_REQUESTS,
                Panel(
                    "Certificate",
                    "Time until the first certificate in the namespace expires, from cert-manager.",
                    "s",
                    [
                        (
                            (
                                f'min({CERTIFICATE}{{exported_namespace=~"$namespace"}}'
                                f' or {CERTIFICATE}{{NS,exported_namespace=""}}) - time()'
                            ),
                            "remaining",
                        )
                    ],
                    limit=14 * 86400,
                    stat=True,
                    red_below=True,
                ),
                Panel(
                    "Connections",
                    "Connections that have joined a canvas.",
                    "none",
                    [total("svgx_engine_live_connections")],
                    stat=True,
                ),
                Panel(
                    "Editors",
                    "Joined connections with a role that permits edits.",
                    "none",
                    [total("svgx_engine_live_editors")],
                    stat=True,
                ),
                Panel(
                    "Canvases",
                    "Canvases that a replica holds in memory.",
                    "none",
                    [total("svgx_engine_collab_held_canvases")],
                    stat=True,
                ),
                Panel(
                    "Versions",
                    "Replicas of each version. Two versions of a component mean that a rollout is in progress.",
                    "none",
                    [
                        (
                            "count by (component, version) (svgx_engine_build_info{NS})",
                            "{{component}} {{version}}",
                        )
                    ],
                    stat=True,
                ),
            ],
        ),
        Row(
            "Requests",
            [
                Panel(
                    "Requests",
                    "Operations answered each second. The gateway counts each request of a client.",
                    "reqps",
                    [rate("svgx_engine_requests_total", "job")],
                ),
                Panel(
                    "Errors",
                    "Operations that failed with a status of 500 or above, as a share of all operations.",
                    "percentunit",
                    [(ERROR_SHARE, "{{job}}")],
                    limit=0.05,
                ),
                Panel(
                    "Response time",
                    "95th percentile of the time to answer an operation.",
                    "s",
                    [percentile("svgx_engine_request_duration_seconds", "job")],
                    limit=2,
                    exemplars=True,
                ),
            ],
        ),
        Row(
            "Edits",
            [
                Panel(
                    "Edits",
                    "Edits received each second, by outcome. `late` took more than a second to be saved.",
                    "ops",
                    [rate("svgx_engine_live_edits_total", "outcome")],
                ),
                OLDEST_UNSAVED,
                Panel(
                    "Time to save",
                    "95th percentile of the time from a batch leaving the gateway to its commit.",
                    "s",
                    [percentile("svgx_engine_live_saved_seconds", "job")],
                    limit=1,
                    exemplars=True,
                ),
            ],
        ),
        Row(
            "Dependencies",
            [
                Panel(
                    "Dependencies",
                    "1 while all replicas of a component can use the dependency.",
                    "none",
                    [
                        (
                            "min by (component, dependency) (svgx_engine_dependency_up{NS})",
                            "{{component}} {{dependency}}",
                        )
                    ],
                    limit=1,
                    red_below=True,
                ),
                Panel(
                    "Replicas that answer Prometheus",
                    "Replicas of each service that Prometheus can scrape. Reserved collab replicas are counted"
                    " separately.",
                    "none",
                    [
                        total("up", "job", f"{JOBS},{NOT_RESERVED}"),
                        total("up", "service", f"{JOBS},{RESERVED}"),
                    ],
                ),
                Panel(
                    "Silent replicas",
                    "Replicas that answered the gateways' pings before and do not answer now: frozen, or cut off.",
                    "none",
                    [("max by (component) (svgx_engine_silent_replicas{NS})", "{{component}}")],
                    limit=1,
                ),
                LOOP_LAG,
            ],
        ),
    ],
)
