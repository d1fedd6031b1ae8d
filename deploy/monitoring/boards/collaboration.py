"""The dashboard "Collaboration Metrics": connections, canvases, holders and broadcasts."""

from deploy.monitoring.board import Board, Panel, Row
from deploy.monitoring.boards.queries import NOT_RESERVED, RESERVED, quantiles, rate, total

COLLABORATION = Board(
    "svgx-collaboration",
    "Collaboration Metrics",
    "Connections, canvases, holders and broadcasts.",
    [
        Row(
            "People",
            [
                Panel(
                    "Connections",
                    "Joined connections, those that may edit, and clients with an awareness state.",
                    "none",
                    [
                        ("sum(svgx_engine_live_connections{NS})", "connections"),
                        ("sum(svgx_engine_live_editors{NS})", "editors"),
                        ("sum(svgx_engine_collab_participants{NS})", "participants"),
                    ],
                ),
                Panel(
                    "Opened connections",
                    "WebSockets opened each second. A burst after a restart of a gateway is normal.",
                    "ops",
                    [
                        (
                            'sum(rate(svgx_engine_http_responses_total{NS,status="1xx"}[RATE]))',
                            "opened",
                        )
                    ],
                ),
                Panel(
                    "Closed connections",
                    "WebSockets closed each second, by close code. 1012 is a restart, 1013 an overload, and 4401 a"
                    " token that is not valid any more.",
                    "ops",
                    [rate("svgx_engine_websocket_closes_total", "code")],
                ),
                Panel(
                    "Connections at a limit",
                    "WebSockets refused or closed each second because of a limit.",
                    "ops",
                    [rate("svgx_engine_websocket_refused_total", "limit")],
                    limit=1,
                ),
                Panel(
                    "Bounds of edits and syncs",
                    "By bound: the edits that are refused each second, and the average number of syncs that wait.",
                    "none",
                    [
                        rate("svgx_engine_collab_refused_edits_total", "bound"),
                        rate("svgx_engine_websocket_sync_wait_seconds_total", "bound"),
                    ],
                ),
            ],
        ),
        Row(
            "Canvases and holders",
            [
                Panel(
                    "Canvases",
                    "Canvases in the memory of each collab replica.",
                    "none",
                    [total("svgx_engine_collab_held_canvases", "pod")],
                ),
                Panel(
                    "Time to open a canvas",
                    "Time that a holder takes to load a canvas.",
                    "s",
                    quantiles("svgx_engine_collab_open_seconds"),
                    limit=2.5,
                ),
                Panel(
                    "Released canvases",
                    "Canvases that a replica does not hold any more, by reason. `lease_lost` and `failed` are faults.",
                    "ops",
                    [rate("svgx_engine_collab_released_canvases_total", "reason")],
                ),
                Panel(
                    "Leases without Redis",
                    "Requests about leases that Redis did not answer, each second.",
                    "ops",
                    [rate("svgx_engine_collab_lease_failures_total", "pod")],
                    limit=0.1,
                ),
            ],
        ),
        Row(
            "Busy canvases",
            [
                Panel(
                    "Busy canvases",
                    "Canvases that take much of the processor's time: on each replica that is not reserved, and on all"
                    " reserved replicas together.",
                    "none",
                    [
                        total("svgx_engine_collab_busy_canvases", "pod", NOT_RESERVED),
                        (total("svgx_engine_collab_busy_canvases", "", RESERVED)[0], "reserved"),
                    ],
                ),
                Panel(
                    "Canvases of reserved replicas",
                    "Canvases that each reserved replica holds. A replica with 0 is free.",
                    "none",
                    [total("svgx_engine_collab_held_canvases", "pod", RESERVED)],
                ),
                Panel(
                    "Moves of busy canvases",
                    "In the last ten minutes: canvases that moved to a reserved replica (`busy`), canvases that a"
                    " reserved replica released (`calm`), and moves that failed (`failed`).",
                    "none",
                    [
                        (
                            (
                                "sum by (reason)"
                                ' (increase(svgx_engine_collab_released_canvases_total{NS,reason=~"busy|calm"}[10m]))'
                            ),
                            "{{reason}}",
                        ),
                        ("sum(increase(svgx_engine_collab_failed_moves_total{NS}[10m]))", "failed"),
                    ],
                ),
                Panel(
                    "Paced canvases",
                    "Average number of canvases with delayed changes, because the canvases exceed their share of the"
                    " processor's time.",
                    "none",
                    [rate("svgx_engine_collab_paced_seconds_total", "pod")],
                ),
            ],
        ),
        Row(
            "Broadcasts",
            [
                Panel(
                    "Broadcasts",
                    "Merged updates each second from holders to gateways, and frames from gateways to clients.",
                    "ops",
                    [
                        ("sum(rate(svgx_engine_collab_broadcasts_total{NS}[RATE]))", "broadcasts"),
                        ("sum(rate(svgx_engine_live_frames_sent_total{NS}[RATE]))", "frames"),
                    ],
                ),
                Panel(
                    "Bytes of broadcasts",
                    "Bytes of merged updates from holders to gateways.",
                    "Bps",
                    [
                        (
                            "sum(rate(svgx_engine_collab_broadcast_bytes_total{NS}[RATE]))",
                            "broadcasts",
                        )
                    ],
                ),
                Panel(
                    "Missed broadcasts",
                    "Gaps in the sequence of broadcasts. After a gap, the gateway requests the updates that it lacks.",
                    "ops",
                    [rate("svgx_engine_live_gaps_total", "pod")],
                    limit=1,
                ),
                Panel(
                    "Time to synchronize",
                    "Time until a holder answers a gateway's sync request.",
                    "s",
                    quantiles("svgx_engine_live_sync_seconds"),
                    limit=2.5,
                ),
            ],
        ),
        Row(
            "JSON clients",
            [
                Panel(
                    "Messages of JSON clients",
                    "Messages each second that JSON clients send to the gateways, by type.",
                    "ops",
                    [rate("svgx_engine_live_json_messages_total", "type")],
                ),
                Panel(
                    "Refused messages of JSON clients",
                    "Messages of JSON clients that had no effect, by type.",
                    "ops",
                    [rate("svgx_engine_live_json_messages_total", "type", 'outcome="refused"')],
                ),
                Panel(
                    "Element events",
                    "Changes of elements that holders describe for JSON clients. Events without operations make these"
                    " clients load the canvas again.",
                    "ops",
                    [
                        ("sum(rate(svgx_engine_collab_element_events_total{NS}[RATE]))", "events"),
                        (
                            "sum(rate(svgx_engine_collab_element_reloads_total{NS}[RATE]))",
                            "without operations",
                        ),
                    ],
                ),
                Panel(
                    "Reloads of JSON clients",
                    "Times each second at which a gateway tells the JSON clients of a canvas to load it again.",
                    "ops",
                    [rate("svgx_engine_live_json_reloads_total", "pod")],
                ),
            ],
        ),
        Row(
            "Links",
            [
                Panel(
                    "Messages of links",
                    "Messages each second between gateways and replicas of collab, in both directions.",
                    "ops",
                    [
                        (
                            "sum(rate(svgx_engine_live_link_messages_total{NS}[RATE]))",
                            "to replicas",
                        ),
                        (
                            "sum(rate(svgx_engine_collab_link_messages_total{NS}[RATE]))",
                            "to gateways",
                        ),
                    ],
                ),
                Panel(
                    "Batches sent again outside links",
                    "Batches of edits that failed on a link and are sent again as a request of their own, by reason.",
                    "ops",
                    [rate("svgx_engine_live_link_failures_total", "reason")],
                    limit=1,
                ),
            ],
        ),
        Row(
            "Messages",
            [
                Panel(
                    "Messages to holders",
                    "Messages each second by channel: link messages, batches of edits, sync requests, and awareness"
                    " states outside links.",
                    "ops",
                    [rate("svgx_engine_collab_messages_total", "channel")],
                ),
                Panel(
                    "Refused messages",
                    "Messages that a holder refused, by the error's code.",
                    "ops",
                    [rate("svgx_engine_collab_messages_total", "code", 'code!="ok"')],
                    limit=1,
                ),
                Panel(
                    "Rejected edits",
                    "Edits rejected each second: malformed, not possible to integrate, beyond a bound, or the cause of"
                    " an earlier failure of the room.",
                    "ops",
                    [rate("svgx_engine_collab_rejected_edits_total", "pod")],
                    limit=1,
                ),
                Panel(
                    "Slowed clients",
                    "Average number of WebSockets that are not read, because their clients sent more than a limit.",
                    "none",
                    [rate("svgx_engine_websocket_slowed_seconds_total", "pod")],
                ),
            ],
        ),
    ],
)
