"""The dashboard "Backups": the age, the outcomes and the space of the backups of the database and of canvases.

The metrics `kube_*` come from kube-state-metrics, `kubelet_*` from the kubelet.
"""

from deploy.monitoring.board import Board, Panel, Row
from deploy.monitoring.boards.queries import quantiles

STATE = 'job="svgx-state"'
LONGEST = 26 * 3600
"""Seconds after which a daily backup is too old, as in the alert."""

BACKUPS = Board(
    "svgx-backups",
    "Backups",
    "Age, outcomes and space of the backups of the database and of canvases.",
    [
        Row(
            "Backups of the database and of canvases",
            [
                Panel(
                    "Age of the newest backup",
                    "Time since the newest complete backup of the database, and of canvases. CronJobs run daily.",
                    "s",
                    [
                        (
                            (
                                "time() - max by (cronjob) "
                                '(kube_cronjob_status_last_successful_time{NS,cronjob=~".*backup"})'
                            ),
                            "{{cronjob}}",
                        ),
                        (
                            (
                                "time() - max(svgx_engine_backup_last_success_timestamp_seconds"
                                f"{{NS,{STATE}}} > 0)"
                            ),
                            "canvases",
                        ),
                    ],
                    limit=LONGEST,
                ),
                Panel(
                    "Failed jobs",
                    "Jobs of the CronJobs that failed in the last day.",
                    "none",
                    [
                        (
                            (
                                "sum by (job_name) (kube_job_failed"
                                '{NS,condition="true",job_name=~".*backup.*"})'
                            ),
                            "{{job_name}}",
                        )
                    ],
                    limit=1,
                ),
                Panel(
                    "Ended backups",
                    "Backups over the API that ended in the last day. Those of CronJobs are in Failed jobs.",
                    "none",
                    [
                        (
                            (
                                "sum by (outcome) "
                                f"(increase(svgx_engine_backups_total{{NS,{STATE}}}[1d]))"
                            ),
                            "{{outcome}}",
                        )
                    ],
                ),
                Panel(
                    "Space of the backups",
                    "Used share of the volume that stores the backups.",
                    "percentunit",
                    [
                        (
                            (
                                'kubelet_volume_stats_used_bytes{NS,persistentvolumeclaim=~".*backup.*"}'
                                " / kubelet_volume_stats_capacity_bytes"
                                '{NS,persistentvolumeclaim=~".*backup.*"}'
                            ),
                            "{{persistentvolumeclaim}}",
                        )
                    ],
                    limit=0.85,
                ),
            ],
        ),
        Row(
            "Backups of canvases",
            [
                Panel(
                    "Progress",
                    "Written share of the running backup of canvases and users, also of a CronJob; 0 without one.",
                    "percentunit",
                    [(f"max(svgx_engine_backup_progress{{NS,{STATE}}})", "written")],
                ),
                Panel(
                    "Written bytes",
                    "Bytes that backups over the API store each second. Those of CronJobs are not included.",
                    "Bps",
                    [(f"sum(rate(svgx_engine_backup_bytes_total{{NS,{STATE}}}[RATE]))", "bytes")],
                ),
                Panel(
                    "Time of a backup",
                    "Time to write one backup over the API. The backups of CronJobs are not included.",
                    "s",
                    quantiles("svgx_engine_backup_seconds", selector=STATE),
                    limit=3600,
                ),
            ],
        ),
    ],
)
