"""The dashboard "Error Tracking": errors by service, operation and cause, and everything that was refused."""

from deploy.monitoring.board import Board, Panel, Row
from deploy.monitoring.boards.queries import ERROR_SHARE, FAILED_REQUESTS, SAVED_LATE, rate

ERRORS = Board(
    "svgx-errors",
    "Error Tracking",
    "Errors by service, operation and cause, and everything that was refused.",
    [
        Row(
            "Failed requests",
            [
                FAILED_REQUESTS,
                SAVED_LATE,
            ],
        ),
        Row(
            "Errors of services",
            [
                Panel(
                    "Share of operations that fail",
                    "Operations with a status of 500 and above. The alert SVGXEngineHighErrorRate fires above 5 %.",
                    "percentunit",
                    [(ERROR_SHARE, "{{job}}")],
                    limit=0.05,
                ),
                Panel(
                    "Errors by code",
                    "Operations each second that failed with a status of 500 and above.",
                    "ops",
                    [
                        (
                            "sum by (component, code) (rate(svgx_engine_errors_total{NS}[RATE]))",
                            "{{component}} {{code}}",
                        )
                    ],
                ),
                Panel(
                    "Operations that fail most",
                    "The ten operations that fail most often with a status of 500 and above.",
                    "ops",
                    [
                        (
                            (
                                "topk(10, sum by (component, operation, code) (rate(svgx_engine_requests_total"
                                '{NS,code=~"error|internal|unavailable|overloaded|deadline_exceeded"}[RATE])))'
                            ),
                            "{{component}} {{operation}} {{code}}",
                        )
                    ],
                ),
            ],
        ),
        Row(
            "Answers to clients",
            [
                Panel(
                    "Responses",
                    "Responses of the gateway each second, by class of status. `1xx` is an opened WebSocket.",
                    "reqps",
                    [rate("svgx_engine_http_responses_total", "status")],
                ),
                Panel(
                    "Refused requests",
                    "Requests of clients that were refused with 4xx each second, by code.",
                    "reqps",
                    [
                        rate(
                            "svgx_engine_requests_total",
                            "code",
                            'component="gateway",code!~"ok|client_gone|error|internal|unavailable|overloaded|deadline_exceeded"',
                        )
                    ],
                ),
                Panel(
                    "Requests over a rate limit",
                    "Requests refused each second because of a rate limit. The alert fires above 50.",
                    "reqps",
                    [rate("svgx_engine_rate_limit_hits_total", "rate_class")],
                    limit=50,
                ),
                Panel(
                    "Refused log-ins",
                    "Refused log-ins each second, including those with OpenID Connect. The alert fires above 10.",
                    "ops",
                    [("sum(rate(svgx_engine_failed_logins_total{NS}[RATE]))", "log-ins")],
                    limit=10,
                ),
            ],
        ),
        Row(
            "Protection",
            [
                Panel(
                    "Open circuits",
                    "1 while the gateway refuses requests to a failing service, or to a pool of its operations.",
                    "none",
                    [("max by (circuit) (svgx_engine_circuit_open{NS}) > 0", "{{circuit}}")],
                    limit=1,
                ),
                Panel(
                    "Refused by circuits and load shedding",
                    "Requests refused because a circuit was open, or because the event loop lagged.",
                    "reqps",
                    [
                        rate("svgx_engine_circuit_refused_total", "circuit"),
                        ("sum(rate(svgx_engine_shed_total{NS}[RATE]))", "load shedding"),
                    ],
                    limit=1,
                ),
                Panel(
                    "Refused by the password queue",
                    "Requests refused because the password queue, or the caller's share of it, was full.",
                    "reqps",
                    [rate("svgx_engine_password_refused_total", "reason")],
                ),
            ],
        ),
        Row(
            "Internal failures",
            [
                Panel(
                    "Database",
                    "Statements and connections each second that failed for a temporary reason.",
                    "ops",
                    [rate("svgx_engine_database_failures_total", "job")],
                    limit=1,
                ),
                Panel(
                    "Bus",
                    "Reconnects to NATS, and messages that were dropped because a process was too slow.",
                    "ops",
                    [
                        (
                            "sum by (job) (rate(svgx_engine_bus_reconnects_total{NS}[RATE]))",
                            "{{job}} reconnects",
                        ),
                        (
                            "sum by (job) (rate(svgx_engine_bus_dropped_messages_total{NS}[RATE]))",
                            "{{job}} dropped",
                        ),
                    ],
                    limit=1,
                ),
                Panel(
                    "Lost audit entries",
                    "Operations of admins in the last hour that auth could not record. The alert fires above 0.",
                    "none",
                    [
                        (
                            "sum(increase(svgx_engine_audit_entries_lost_total{NS}[1h]))",
                            "operations",
                        )
                    ],
                    limit=1,
                ),
                Panel(
                    "Rooms and commits",
                    "Commits that had to be repeated, and rooms that failed.",
                    "ops",
                    [
                        (
                            "sum(rate(svgx_engine_collab_commit_failures_total{NS}[RATE]))",
                            "repeated commits",
                        ),
                        (
                            "sum(rate(svgx_engine_collab_broken_rooms_total{NS}[RATE]))",
                            "failed rooms",
                        ),
                    ],
                    limit=0.1,
                ),
                Panel(
                    "Journal and snapshots",
                    "Reads and compactions that found journal entries missing, and compactions that failed, in the last"
                    " hour; and the canvases in the table `journal_gap`.",
                    "none",
                    [
                        ("sum(increase(svgx_engine_journal_gaps_total{NS}[1h]))", "gaps"),
                        ("max(svgx_engine_journal_gap_canvases{NS})", "canvases with a gap"),
                        (
                            'sum(increase(svgx_engine_snapshots_total{NS,outcome="failed"}[1h]))',
                            "failed compactions",
                        ),
                    ],
                    limit=1,
                ),
            ],
        ),
    ],
)
