"""The dashboard "Edits end to end": the path of an edit from the client to its commit, and back as a broadcast."""

from deploy.monitoring.board import Board, Panel, Row
from deploy.monitoring.boards.queries import OLDEST_UNSAVED, SAVED_LATE, quantiles, rate, total

EDITS = Board(
    "svgx-edits",
    "Edits end to end",
    "The path of an edit: gateway, holder, journal, broadcast, compaction, disk. The rows are in this order.",
    [
        Row(
            "Objective",
            [
                SAVED_LATE,
                Panel(
                    "Oldest edit that is not saved",
                    "Age of the oldest edit without a commit, as the gateways see it.",
                    "s",
                    [("max(svgx_engine_live_oldest_unsaved_seconds{NS})", "oldest")],
                    limit=5,
                    stat=True,
                ),
                Panel(
                    "Bytes in the gateways",
                    "Bytes of edits that no holder has acknowledged.",
                    "bytes",
                    [total("svgx_engine_live_unacked_bytes")],
                    limit=32 * 1024 * 1024,
                    stat=True,
                ),
                Panel(
                    "Bytes in the holders",
                    "Bytes of edits that are not committed, in the holder with the most. Beyond 64 MiB, a holder"
                    " refuses edits.",
                    "bytes",
                    [("max(svgx_engine_collab_unsaved_bytes{NS})", "largest")],
                    limit=64 * 1024 * 1024,
                    stat=True,
                ),
            ],
        ),
        Row(
            "Gateway",
            [
                Panel(
                    "Edits",
                    "Edits each second, by outcome.",
                    "ops",
                    [rate("svgx_engine_live_edits_total", "outcome")],
                ),
                Panel(
                    "Edits in a batch",
                    "Edits that a gateway sends to a holder in one batch.",
                    "none",
                    quantiles("svgx_engine_live_batch_edits"),
                ),
                Panel(
                    "Time to save",
                    "Time from a batch leaving the gateway until its commit.",
                    "s",
                    quantiles("svgx_engine_live_saved_seconds"),
                    limit=1,
                    exemplars=True,
                ),
                Panel(
                    "Batches sent again",
                    "Batches sent again because a new holder may have taken over, or because their link has failed.",
                    "ops",
                    [rate("svgx_engine_live_resent_batches_total", "pod")],
                    limit=1,
                ),
            ],
        ),
        Row(
            "Holder",
            [
                Panel(
                    "Edits",
                    "Edits that arrive at the holders, and edits that they reject.",
                    "ops",
                    [
                        ("sum(rate(svgx_engine_collab_edits_total{NS}[RATE]))", "edits"),
                        (
                            "sum(rate(svgx_engine_collab_rejected_edits_total{NS}[RATE]))",
                            "rejected",
                        ),
                    ],
                ),
                Panel(
                    "Entries in a commit",
                    "Journal entries that a holder commits together. Each entry contains merged edits of one canvas.",
                    "none",
                    quantiles("svgx_engine_collab_commit_entries"),
                ),
                Panel(
                    "Bytes of a commit",
                    "Bytes that a holder commits together.",
                    "bytes",
                    quantiles("svgx_engine_collab_commit_bytes"),
                ),
                Panel(
                    "Time to commit",
                    "Time from a holder's request to commit until the state service answers.",
                    "s",
                    quantiles("svgx_engine_collab_commit_seconds"),
                    limit=1,
                    exemplars=True,
                ),
            ],
        ),
        Row(
            "Journal",
            [
                Panel(
                    "Time to commit in PostgreSQL",
                    "Time of a transaction, including the wait for a connection.",
                    "s",
                    quantiles("svgx_engine_journal_commit_seconds"),
                    limit=1,
                    exemplars=True,
                ),
                Panel(
                    "Commits and entries",
                    "Transactions and journal entries each second. Repeated entries were committed before.",
                    "ops",
                    [
                        ("sum(rate(svgx_engine_journal_commits_total{NS}[RATE]))", "commits"),
                        ("sum(rate(svgx_engine_journal_entries_total{NS}[RATE]))", "entries"),
                        (
                            "sum(rate(svgx_engine_journal_repeated_entries_total{NS}[RATE]))",
                            "repeated",
                        ),
                    ],
                ),
                Panel(
                    "Growth of the journal",
                    "Bytes of updates committed each second.",
                    "Bps",
                    [("sum(rate(svgx_engine_journal_bytes_total{NS}[RATE]))", "bytes")],
                ),
                OLDEST_UNSAVED,
            ],
        ),
        Row(
            "Broadcast",
            [
                Panel(
                    "Broadcasts",
                    "Merged updates from holders to gateways each second.",
                    "ops",
                    [("sum(rate(svgx_engine_collab_broadcasts_total{NS}[RATE]))", "broadcasts")],
                ),
                Panel(
                    "Frames to clients",
                    "Frames queued for clients each second.",
                    "ops",
                    [rate("svgx_engine_live_frames_sent_total", "pod")],
                ),
                Panel(
                    "Round trip of the bus",
                    "Time of a message through NATS and back.",
                    "s",
                    quantiles("svgx_engine_bus_round_trip_seconds"),
                    limit=0.1,
                ),
            ],
        ),
        Row(
            "Compaction",
            [
                Panel(
                    "Canvases that wait",
                    "Canvases that wait for compaction or are being compacted.",
                    "none",
                    [total("svgx_engine_snapshot_backlog", "pod")],
                    limit=100,
                ),
                Panel(
                    "Compactions",
                    "Compactions each second, by outcome.",
                    "ops",
                    [rate("svgx_engine_snapshots_total", "outcome")],
                ),
                Panel(
                    "Time of a compaction",
                    "Time to write the snapshot of a canvas.",
                    "s",
                    quantiles("svgx_engine_snapshot_seconds"),
                    limit=30,
                ),
            ],
        ),
        Row(
            "Disk",
            [
                Panel(
                    "Disk space",
                    "Disk space of the database, and of the journal and the snapshots in it.",
                    "bytes",
                    [
                        ("max(svgx_engine_database_bytes{NS})", "database"),
                        ("max(svgx_engine_journal_disk_bytes{NS})", "journal"),
                        ("max(svgx_engine_snapshot_disk_bytes{NS})", "snapshots"),
                        ("max(svgx_engine_journal_day_bytes{NS})", "journal of a day"),
                    ],
                ),
                Panel(
                    "Time until the disk is full",
                    "Forecast of the time until the database has the configured size. At most ten years, and ten years"
                    " if no size is set.",
                    "s",
                    [("min(svgx_engine_database_full_seconds{NS})", "forecast")],
                    limit=7 * 86400,
                    red_below=True,
                ),
                Panel(
                    "Oldest day of the journal",
                    "Age of the oldest day in the journal, and the time for which the journal is kept.",
                    "s",
                    [
                        ("max(svgx_engine_journal_oldest_day_seconds{NS})", "oldest day"),
                        ("max(svgx_engine_journal_retention_seconds{NS})", "retention"),
                    ],
                ),
                Panel(
                    "Quarantine and retention",
                    "Corrupt rows moved to the quarantine, outlines that were deleted because PostgreSQL could not read"
                    " them, and runs that drop old days, in the last hour.",
                    "none",
                    [
                        (
                            "sum(increase(svgx_engine_journal_quarantined_total{NS}[1h]))",
                            "quarantined",
                        ),
                        (
                            "sum(increase(svgx_engine_journal_deleted_outlines_total{NS}[1h]))",
                            "deleted outlines",
                        ),
                        (
                            "sum by (outcome) (increase(svgx_engine_journal_retention_runs_total{NS}[1h]))",
                            "runs {{outcome}}",
                        ),
                    ],
                ),
                Panel(
                    "Versions and restores",
                    "Versions of canvases that were made or removed, and restores of versions, in the last hour.",
                    "none",
                    [
                        (
                            "sum by (reason) (increase(svgx_engine_versions_made_total{NS}[1h]))",
                            "made {{reason}}",
                        ),
                        (
                            "sum by (reason) (increase(svgx_engine_versions_removed_total{NS}[1h]))",
                            "removed {{reason}}",
                        ),
                        (
                            "sum by (outcome) (increase(svgx_engine_version_restores_total{NS}[1h]))",
                            "restores {{outcome}}",
                        ),
                    ],
                ),
            ],
        ),
        Row(
            "Deletion",
            [
                Panel(
                    "Rows removed for good",
                    "Rows of deleted canvases that are removed each second, after the retention.",
                    "ops",
                    [rate("svgx_engine_purged_rows_total", "pod")],
                ),
                Panel(
                    "Rows of erased users",
                    "Rows that erasures of users change or delete each second.",
                    "ops",
                    [rate("svgx_engine_erased_rows_total", "pod")],
                ),
            ],
        ),
    ],
)
