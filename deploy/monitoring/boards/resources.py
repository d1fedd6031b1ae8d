"""The dashboard "Resource Usage": processor, memory, disk, network, replicas, pools and queues.

The metrics `container_*` come from cAdvisor, `kube_*` from kube-state-metrics, `kubelet_*` from the kubelet.
"""

from deploy.monitoring.board import Board, Panel, Row
from deploy.monitoring.boards.queries import LOOP_LAG, quantiles, total

PODS = 'pod=~"svgx-.+",container!=""'
JOBS = 'job=~"svgx-.+"'

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
                            f"sum by (pod) (rate(container_cpu_usage_seconds_total{{NS,{PODS}}}[RATE]))",
                            "{{pod}}",
                        )
                    ],
                ),
                Panel(
                    "Processor, part of the limit",
                    "Used part of the limit of each pod. Near 100 % the pod is throttled.",
                    "percentunit",
                    [
                        (
                            (
                                f"sum by (pod) (rate(container_cpu_usage_seconds_total{{NS,{PODS}}}[RATE]))"
                                f' / sum by (pod) (kube_pod_container_resource_limits{{NS,resource="cpu",{PODS}}})'
                            ),
                            "{{pod}}",
                        )
                    ],
                    limit=0.9,
                ),
                Panel(
                    "Memory",
                    "Memory that each pod uses, as the kernel counts it towards the limit.",
                    "bytes",
                    [
                        (
                            f"sum by (pod) (container_memory_working_set_bytes{{NS,{PODS}}})",
                            "{{pod}}",
                        )
                    ],
                ),
                Panel(
                    "Memory, part of the limit",
                    "Used part of the limit of each pod. At 100 % the kernel kills the pod's processes.",
                    "percentunit",
                    [
                        (
                            (
                                f"sum by (pod) (container_memory_working_set_bytes{{NS,{PODS}}})"
                                f' / sum by (pod) (kube_pod_container_resource_limits{{NS,resource="memory",{PODS}}})'
                            ),
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
                    "Processor cores that the main process of each replica uses. It can use one core at most.",
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
                    "Used part of the files and sockets that each process may open.",
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
                            'sum by (deployment) (kube_deployment_status_replicas_available{NS,deployment=~"svgx-.+"})',
                            "{{deployment}}",
                        ),
                        (
                            'sum by (deployment) (kube_deployment_spec_replicas{NS,deployment=~"svgx-.+"})',
                            "{{deployment}} wanted",
                        ),
                    ],
                ),
                Panel(
                    "Restarts",
                    "Restarts of containers in an hour.",
                    "none",
                    [
                        (
                            f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{NS,{PODS}}}[1h]))",
                            "{{pod}}",
                        )
                    ],
                    limit=1,
                ),
                Panel(
                    "Network",
                    "Bytes that the pods receive and send.",
                    "Bps",
                    [
                        (
                            'sum(rate(container_network_receive_bytes_total{NS,pod=~"svgx-.+"}[RATE]))',
                            "received",
                        ),
                        (
                            'sum(rate(container_network_transmit_bytes_total{NS,pod=~"svgx-.+"}[RATE]))',
                            "sent",
                        ),
                    ],
                ),
                Panel(
                    "Disk",
                    "Used part of each volume.",
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
                    "Used part of the pool of each replica.",
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
                    "Time that a caller waits for a connection.",
                    "s",
                    quantiles("svgx_engine_database_wait_seconds"),
                    limit=0.5,
                ),
                Panel(
                    "Connections to Redis",
                    "Used part of the pool of each replica.",
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
                    "Requests that use a worker process, and requests that wait for one.",
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
                    "Used part of the slots of each pool of operations. Beyond 100 % requests wait.",
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
                    "Messages from NATS that wait",
                    "Messages that have arrived and wait for their handlers.",
                    "none",
                    [total("svgx_engine_bus_pending_messages", "job")],
                    limit=10000,
                ),
                Panel(
                    "Bytes for NATS that wait",
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
                    "Values that clients store, read, delete and list each second, by backend and outcome.",
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
                    "Reads of values in PostgreSQL: cache hit, miss with a query, or shared with a running query.",
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
