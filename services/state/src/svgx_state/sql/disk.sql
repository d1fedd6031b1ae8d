-- The disk space of the database and its tables.

-- name: disk_use
-- Read the bytes of the database, and of all snapshots.
SELECT pg_database_size(current_database()) AS database, pg_total_relation_size('snapshot') AS snapshots

-- name: journal_day_bytes
-- List the days of the journal's partitions with their bytes, oldest first.
SELECT to_date(substr(c.relname, 9), 'YYYYMMDD') AS day, pg_total_relation_size(c.oid) AS bytes
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'journal'::regclass AND c.relname ~ '^journal_\d{8}$'
ORDER BY day
