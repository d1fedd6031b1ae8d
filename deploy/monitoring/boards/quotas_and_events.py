"""The dashboard "Quotas and events": accounts near their bounds, and the delivery of events to webhooks."""

from deploy.monitoring.board import Board, Panel, Row
from deploy.monitoring.boards.queries import quantiles, rate, total

QUOTAS_AND_EVENTS = Board(
    "svgx-quotas-and-events",
    "Quotas and events",
    "Accounts and canvases near their bounds, and the delivery of events from the outbox to webhooks.",
    [
        Row(
            "Quotas",
            [
                Panel(
                    "Near a bound",
                    "Accounts and canvases that have used at least 80 % of the lowest bound set for any of them. "
                    "At most 5,000 accounts and 10,000 canvases are counted.",
                    "none",
                    [("max by (kind) (svgx_engine_quota_near{NS})", "{{kind}}")],
                    limit=10,
                ),
                Panel(
                    "Connected accounts",
                    "Connected accounts that are near a bound, slowed, or over a bound.",
                    "none",
                    [total("svgx_engine_quota_editors", "status")],
                    limit=10,
                ),
                Panel(
                    "Refused edits",
                    "Edits and imports that quotas refuse each second, by quota.",
                    "ops",
                    [rate("svgx_engine_quota_refused_edits_total", "quota")],
                    limit=1,
                ),
                Panel(
                    "Refused canvases",
                    "New canvases that quotas refuse each second, by quota.",
                    "ops",
                    [rate("svgx_engine_quota_refused_canvases_total", "quota")],
                ),
            ],
        ),
        Row(
            "Events",
            [
                Panel(
                    "Outbox",
                    "Age of the oldest unpublished event in the outbox.",
                    "s",
                    [("max by (job) (svgx_engine_events_outbox_lag_seconds{NS})", "{{job}}")],
                    limit=60,
                ),
                Panel(
                    "Events",
                    "Published events each second, by type.",
                    "ops",
                    [rate("svgx_engine_events_relayed_total", "type")],
                ),
                Panel(
                    "Attempts",
                    "Attempts to deliver an event to a webhook each second, by outcome.",
                    "ops",
                    [rate("svgx_engine_webhook_attempts_total", "outcome")],
                ),
                Panel(
                    "Time of an attempt",
                    "Time until the receiver of a delivery answers.",
                    "s",
                    quantiles("svgx_engine_webhook_attempt_seconds"),
                    limit=5,
                ),
                Panel(
                    "Backlog",
                    "Deliveries that are not finished, and deliveries that have failed for good.",
                    "none",
                    [
                        ("max(svgx_engine_webhook_pending{NS})", "pending"),
                        ("max(svgx_engine_webhook_dead_letters{NS})", "dead"),
                    ],
                ),
            ],
        ),
    ],
)
