"""The dashboard "Resource Usage": processor, memory, disk, network, replicas, pools and queues.

The metrics `container_*` come from cAdvisor, `kube_*` from kube-state-metrics, `kubelet_*` from the kubelet.
"""

from deploy.monitoring.board import Board, Panel, Row
from deploy.monitoring.boards.queries import JOBS, LOOP_LAG, WITH_SERVICES, quantiles, total

PODS = 'pod!="",container!=""'
CPU = f"rate(container_cpu_usage_seconds_total{{NS,{PODS}}}[RATE]) {WITH_SERVICES}"
MEMORY = f"container_memory_working_set_bytes{{NS,{PODS}}} {WITH_SERVICES}"
CPU_LIMITS, MEMORY_LIMITS = (
    f'kube_pod_container_resource_limits{{NS,resource="{each}",{PODS}}} {WITH_SERVICES}'
    for each in ("cpu", "memory")
)

RESOURCES = Board(
    "svgx-resources",
    "Resource Usage",
    "Processor, memory, disk, network, replicas, pools and queues.",
    [
        Row(
            "Processor and memory",
            [
                Panel(
                    "Processor",
                    "Processor cores that each pod uses.",
                    "none",
                    [
                        (
                            f"sum by (pod) ({CPU})",
                            "{{pod}}",
                        )
                    ],
                ),
                Panel(
                    "Processor, part of the limit",
                    "Share of its processor limit that each pod uses. Near 100 % the pod is throttled.",
                    "percentunit",
                    [
                        (
                            f"sum by (pod) ({CPU}) / sum by (pod) ({CPU_LIMITS})",
                            "{{pod}}",
                        )
                    ],
                    limit=0.9,
                ),
                Panel(
                    "Memory",
                    "Memory that each pod uses, without the cached files that the kernel can drop first.",
                    "bytes",
                    [
                        (
                            f"sum by (pod) ({MEMORY})",
                            "{{pod}}",
                        )
                    ],
                ),
                Panel(
                    "Memory, part of the limit",
                    "Share of its memory limit that each pod uses. At 100 % the kernel kills the pod's processes.",
                    "percentunit",
                    [
                        (
                            f"sum by (pod) ({MEMORY}) / sum by (pod) ({MEMORY_LIMITS})",
                            "{{pod}}",
                        )
                    ],
                    limit=0.9,
                ),
            ],
        ),
        Row(
            "Processes, also outside of Kubernetes",
            [
                Panel(
                    "Processor of the processes",
                    "Processor cores that the main process of each replica uses. It can use at most one core.",
                    "none",
                    [
                        (
                            f"rate(process_cpu_seconds_total{{NS,{JOBS}}}[RATE])",
                            "{{job}} {{instance}}",
                        )
                    ],
                    limit=0.9,
                ),
                Panel(
                    "Memory of the processes",
                    "Memory of the main process of each replica, without its worker processes.",
                    "bytes",
                    [(f"process_resident_memory_bytes{{NS,{JOBS}}}", "{{job}} {{instance}}")],
                ),
                Panel(
                    "Open files",
                    "Open files and sockets of each process, as a share of its limit.",
                    "percentunit",
                    [
                        (
                            f"process_open_fds{{NS,{JOBS}}} / process_max_fds{{NS,{JOBS}}}",
                            "{{job}} {{instance}}",
                        )
                    ],
                    limit=0.8,
                ),
                LOOP_LAG,
            ],
        ),
        Row(
            "Replicas",
            [
                Panel(
                    "Available replicas",
                    "Replicas that are ready, and replicas that each deployment should have.",
                    "none",
                    [
                        (
                            f"sum by (deployment) (kube_deployment_status_replicas_available{{NS}} {WITH_SERVICES})",
                            "{{deployment}}",
                        ),
                        (
                            f"sum by (deployment) (kube_deployment_spec_replicas{{NS}} {WITH_SERVICES})",
                            "{{deployment}} wanted",
                        ),
                    ],
                ),
                Panel(
                    "Restarts",
                    "Restarts of containers in the last hour.",
                    "none",
                    [
                        (
                            (
                                "sum by (pod) (increase(kube_pod_container_status_restarts_total"
                                f"{{NS,{PODS}}}[1h]) {WITH_SERVICES})"
                            ),
                            "{{pod}}",
                        )
                    ],
                    limit=1,
                ),
                Panel(
                    "Network",
                    "Bytes that all pods together receive and send each second.",
                    "Bps",
                    [
                        (
                            f'sum(rate(container_network_receive_bytes_total{{NS,pod!=""}}[RATE]) {WITH_SERVICES})',
                            "received",
                        ),
                        (
                            f'sum(rate(container_network_transmit_bytes_total{{NS,pod!=""}}[RATE]) {WITH_SERVICES})',
                            "sent",
                        ),
                    ],
                ),
                Panel(
                    "Disk",
                    "Used share of each volume.",
                    "percentunit",
                    [
                        (
                            "kubelet_volume_stats_used_bytes{NS} / kubelet_volume_stats_capacity_bytes{NS}",
                            "{{persistentvolumeclaim}}",
                        )
                    ],
                    limit=0.85,
                ),
            ],
        ),
        Row(
            "Pools",
            [
                Panel(
                    "Connections to PostgreSQL",
                    "Share of the connections in each replica's pool that are in use.",
                    "percentunit",
                    [
                        (
                            (
                                'sum by (job, instance) (svgx_engine_database_connections{NS,state="in_use"})'
                                " / sum by (job, instance) (svgx_engine_database_connections_max{NS})"
                            ),
                            "{{job}} {{instance}}",
                        )
                    ],
                    limit=0.9,
                ),
                Panel(
                    "Wait for PostgreSQL",
                    "Time for which a query or transaction waits for a connection of the pool.",
                    "s",
                    quantiles("svgx_engine_database_wait_seconds"),
                    limit=0.5,
                ),
                Panel(
                    "Connections to Redis",
                    "Share of the connections in each replica's pool that are in use.",
                    "percentunit",
                    [
                        (
                            (
                                'sum by (job, instance) (svgx_engine_redis_connections{NS,state="in_use"})'
                                " / sum by (job, instance) (svgx_engine_redis_connections_max{NS})"
                            ),
                            "{{job}} {{instance}}",
                        )
                    ],
                    limit=0.9,
                ),
                Panel(
                    "Worker processes",
                    "Requests that use a worker process, requests that wait for one, and the number of worker"
                    " processes.",
                    "none",
                    [
                        (
                            "sum by (job, state) (svgx_engine_worker_turns{NS})",
                            "{{job}} {{state}}",
                        ),
                        ("sum by (job) (svgx_engine_workers_max{NS})", "{{job}} processes"),
                    ],
                ),
            ],
        ),
        Row(
            "Queues",
            [
                Panel(
                    "Operations in progress",
                    "Requests in each pool of operations, as a share of the pool's slots. Beyond 100 % requests wait.",
                    "percentunit",
                    [
                        (
                            (
                                "sum by (job, pool) (svgx_engine_pool_requests{NS})"
                                " / sum by (job, pool) (svgx_engine_pool_slots{NS})"
                            ),
                            "{{job}} {{pool}}",
                        )
                    ],
                    limit=1,
                ),
                Panel(
                    "Password queue",
                    "Requests that wait until a password worker is free.",
                    "none",
                    [total("svgx_engine_password_queue", "pod")],
                    limit=20,
                ),
                Panel(
                    "Waiting messages from NATS",
                    "Messages that have arrived and wait for their handlers.",
                    "none",
                    [total("svgx_engine_bus_pending_messages", "job")],
                    limit=10000,
                ),
                Panel(
                    "Unsent bytes for NATS",
                    "Bytes that wait until NATS accepts them. The number grows while NATS cannot be reached.",
                    "bytes",
                    [total("svgx_engine_bus_unsent_bytes", "job")],
                    limit=32 * 1024 * 1024,
                ),
            ],
        ),
        Row(
            "Stored values",
            [
                Panel(
                    "Actions on stored values",
                    "Stores, reads, deletions and lists of values each second, by backend, action and outcome.",
                    "ops",
                    [
                        (
                            (
                                "sum by (backend, action, outcome)"
                                " (rate(svgx_engine_value_actions_total{NS}[RATE])) > 0"
                            ),
                            "{{backend}} {{action}} {{outcome}}",
                        )
                    ],
                ),
                Panel(
                    "Lookups in the cache of values",
                    "Reads of the values that PostgreSQL stores, each second: from the cache (`hit`), with a query"
                    " (`miss`), or with the running query of another read (`shared`).",
                    "ops",
                    [
                        (
                            "sum by (outcome) (rate(svgx_engine_value_cache_requests_total{NS}[RATE]))",
                            "{{outcome}}",
                        )
                    ],
                ),
                Panel(
                    "Cached values",
                    "Memory that each replica uses for cached values.",
                    "bytes",
                    [("svgx_engine_value_cache_bytes{NS}", "{{instance}}")],
                ),
            ],
        ),
    ],
)
