"""The dashboard of one service, for the team that owns the service: requests, errors, queues and processes."""

from deploy.monitoring.board import Board, Panel, Row
from deploy.monitoring.boards.queries import quantiles, rate, total


def service_board(service: str) -> Board:
    """Return the dashboard of a service."""
    job = f'job="svgx-{service}"'
    return Board(
        f"svgx-{service}",
        f"SVGX {service.capitalize()}",
        f"Requests, errors, queues and processes of the service {service}.",
        [
            Row(
                "Requests",
                [
                    Panel(
                        "Requests",
                        "Operations answered each second.",
                        "reqps",
                        [rate("svgx_engine_requests_total", "operation", job)],
                    ),
                    Panel(
                        "Outcomes",
                        "Unsuccessful operations each second, by code.",
                        "reqps",
                        [rate("svgx_engine_requests_total", "code", f'{job},code!="ok"')],
                    ),
                    Panel(
                        "Errors",
                        "Operations that failed with a status of 500 or above, as a share of all operations.",
                        "percentunit",
                        [
                            (
                                (
                                    f"sum(rate(svgx_engine_errors_total{{NS,{job}}}[RATE]))"
                                    f" / sum(rate(svgx_engine_requests_total{{NS,{job}}}[RATE]))"
                                ),
                                "errors",
                            )
                        ],
                        limit=0.05,
                    ),
                    Panel(
                        "Response time",
                        "Time to answer an operation.",
                        "s",
                        quantiles("svgx_engine_request_duration_seconds", selector=job),
                        limit=2,
                        exemplars=True,
                    ),
                ],
            ),
            Row(
                "Queues",
                [
                    Panel(
                        "Operations in progress",
                        "Requests that run or wait, by pool of operations.",
                        "none",
                        [
                            (
                                f"sum by (pool, state) (svgx_engine_pool_requests{{NS,{job}}})",
                                "{{pool}} {{state}}",
                            )
                        ],
                    ),
                    Panel(
                        "Waiting messages from NATS",
                        "Messages that have arrived and wait for their handlers.",
                        "none",
                        [total("svgx_engine_bus_pending_messages", "pod", job)],
                        limit=10000,
                    ),
                    Panel(
                        "Dependencies",
                        "1 while all replicas can use the dependency.",
                        "none",
                        [
                            (
                                f"min by (dependency) (svgx_engine_dependency_up{{NS,{job}}})",
                                "{{dependency}}",
                            )
                        ],
                        limit=1,
                        red_below=True,
                    ),
                ],
            ),
            Row(
                "Processes",
                [
                    Panel(
                        "Processor",
                        "Processor cores that the main process of each replica uses.",
                        "none",
                        [(f"rate(process_cpu_seconds_total{{NS,{job}}}[RATE])", "{{instance}}")],
                        limit=0.9,
                    ),
                    Panel(
                        "Memory",
                        "Memory of the main process of each replica.",
                        "bytes",
                        [(f"process_resident_memory_bytes{{NS,{job}}}", "{{instance}}")],
                    ),
                    Panel(
                        "Lag of the event loop",
                        "Time by which timers are late.",
                        "s",
                        quantiles("svgx_engine_loop_lag_seconds", selector=job),
                        limit=0.1,
                    ),
                    Panel(
                        "Versions",
                        "Replicas of each version.",
                        "none",
                        [
                            (
                                f"count by (version) (svgx_engine_build_info{{NS,{job}}})",
                                "{{version}}",
                            )
                        ],
                    ),
                ],
            ),
        ],
    )
