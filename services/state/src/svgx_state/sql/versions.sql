-- The statements of versions.

-- name: add_version
-- Keep the committed content of canvas $2 as the version $1 of kind $3, with the name $4, made by user $5. Return no
-- row for an unknown or deleted canvas, and for an automatic version when another replica has made it. `previous` is
-- the version of the last revision and not of the latest time, because the clock may have been set back.
--
-- The authors are those of at most the newest 50,000 entries, so that the statement stays quick for a long journal. At
-- most 100 authors are stored, the first by id. The bounds of `at` are sub-selects for the reason given at load_tail in
-- queries.sql.
WITH known AS MATERIALIZED (
    SELECT c.id, c.revision, c.created_at, c.updated_at FROM canvas c WHERE c.id = $2 AND c.deleted_at IS NULL
), previous AS MATERIALIZED (
    SELECT v.revision, v.edited_at FROM version v WHERE v.canvas_id = $2 ORDER BY v.revision DESC LIMIT 1
), bounds AS MATERIALIZED (
    SELECT greatest(coalesce((SELECT p.revision FROM previous p), 0), k.revision - 50000) AS after, k.revision AS through,
        coalesce((SELECT p.edited_at FROM previous p), k.created_at) AS since, k.updated_at AS until
    FROM known k
), edit AS MATERIALIZED (
    SELECT j.authors, j.at FROM journal j
    WHERE j.canvas_id = $2
        AND j.revision > (SELECT b.after FROM bounds b) AND j.revision >> 8 >= (SELECT b.after >> 8 FROM bounds b)
        AND j.revision <= (SELECT b.through FROM bounds b)
        AND j.at BETWEEN (SELECT b.since FROM bounds b) AND (SELECT b.until FROM bounds b)
)
INSERT INTO version (id, canvas_id, revision, kind, name, authors, created_by, edited_at)
SELECT $1, k.id, k.revision, $3, $4,
    coalesce((
        SELECT (array_agg(DISTINCT author ORDER BY author))[1:100] FROM edit, unnest(edit.authors) author
    ), '{}'),
    $5,
    coalesce(
        (SELECT max(e.at) FROM edit e),
        (SELECT p.edited_at FROM previous p WHERE p.revision = k.revision),
        (SELECT s.through_at FROM snapshot s WHERE s.canvas_id = k.id AND s.through_revision = k.revision),
        CASE WHEN k.revision = 0 THEN k.created_at ELSE k.updated_at END)
FROM known k
ON CONFLICT (canvas_id, revision) WHERE kind = 'automatic' DO NOTHING
RETURNING id, kind, name, revision, at, edited_at, authors, created_by

-- name: advance_version
-- Set the revision of a version to $2 if $2 is later. The version then includes the entries that were committed after
-- it was made, and has their authors, at most 100 in all as in add_version. A picture of the earlier revision is removed.
UPDATE version v SET revision = $2, thumbnail = NULL, edited_at = coalesce((
        SELECT j.at FROM journal j
        WHERE j.canvas_id = v.canvas_id AND j.revision = $2 AND j.revision >> 8 = $2 >> 8 AND j.at >= v.edited_at
    ), v.edited_at), authors = coalesce((
        SELECT (array_agg(DISTINCT author ORDER BY author))[1:100] FROM (
            SELECT unnest(v.authors) AS author
            UNION ALL
            SELECT unnest(j.authors) FROM journal j
            WHERE j.canvas_id = v.canvas_id AND j.revision > v.revision AND j.revision <= $2
                AND j.revision >> 8 BETWEEN v.revision >> 8 AND $2 >> 8 AND j.at >= v.edited_at
        ) found
    ), '{}')
WHERE v.id = $1 AND v.revision < $2
RETURNING id, kind, name, revision, at, edited_at, authors, created_by

-- name: first_edit_after
-- Find the first revision from $2 (excluded) to $3 with the author $4. The revision $2 was committed at $5.
SELECT revision FROM journal
WHERE canvas_id = $1 AND revision > $2 AND revision <= $3 AND $4 = ANY (authors)
    AND revision >> 8 >= $2 >> 8 AND revision >> 8 <= $3 >> 8 AND at >= $5
ORDER BY revision >> 8, revision
LIMIT 1

-- name: version
SELECT id, kind, name, revision, at, edited_at, authors, created_by FROM version WHERE canvas_id = $1 AND id = $2

-- name: version_content
SELECT v.revision, coalesce(c.content, v.content) AS content
FROM version v LEFT JOIN version_content c ON c.canvas_id = v.canvas_id AND c.revision = v.revision
WHERE v.canvas_id = $1 AND v.id = $2

-- name: versions
-- Read a page of $2 versions of a canvas, newest first, starting after the version (at $3, id $4). With $5, only those
-- with a name, or only those without one.
SELECT id, kind, name, revision, at, edited_at, authors, created_by FROM version
WHERE canvas_id = $1 AND ($3::timestamptz IS NULL OR (at, id) < ($3, $4::text))
    AND ($5::boolean IS NULL OR (name IS NOT NULL) = $5)
ORDER BY at DESC, id DESC
LIMIT $2

-- name: rename_version
UPDATE version SET name = $3 WHERE canvas_id = $1 AND id = $2
RETURNING id, kind, name, revision, at, edited_at, authors, created_by

-- name: delete_version
-- Delete a version. Delete the content of its revision too, if no other version has this revision. Note its revision,
-- so that no automatic version replaces it.
WITH gone AS (
    DELETE FROM version WHERE canvas_id = $1 AND id = $2
    RETURNING id, canvas_id, revision
), content AS (
    DELETE FROM version_content c USING gone g
    WHERE c.canvas_id = g.canvas_id AND c.revision = g.revision AND NOT EXISTS (
        SELECT FROM version v WHERE v.canvas_id = g.canvas_id AND v.revision = g.revision AND v.id <> g.id
    )
), noted AS (
    UPDATE canvas c SET deleted_version_revision = g.revision FROM gone g
    WHERE c.id = g.canvas_id AND c.deleted_version_revision < g.revision
)
SELECT id FROM gone

-- name: lock_named_versions
-- Let one transaction at a time name versions of a canvas. Otherwise, simultaneous transactions could exceed the
-- largest number of named versions.
SELECT pg_advisory_xact_lock(hashtext('svgx.state.named'), hashtext($1))

-- name: named_versions
SELECT count(*) AS number FROM version WHERE canvas_id = $1 AND name IS NOT NULL

-- name: thumbnail
SELECT thumbnail FROM version WHERE canvas_id = $1 AND id = $2

-- name: set_thumbnail
-- Store the picture of a version, unless its revision is not $3 any more.
UPDATE version SET thumbnail = $2 WHERE id = $1 AND revision = $3

-- name: version_due
-- Read whether a canvas has edits after its newest version and its deleted versions, the seconds since its last edit or
-- renaming, and the seconds since the first edit after these versions. If the journal does not have this edit any more,
-- read the seconds since the first edit that the journal has; null without one. If the journal has no edit any more, a
-- version of the last one may have ended with it. The conditions on `revision >> 8` let PostgreSQL use the index of the
-- journal.
SELECT c.revision > greatest(p.revision, c.deleted_version_revision) AND EXISTS (
        SELECT FROM journal j
        WHERE j.canvas_id = $1 AND j.revision = c.revision AND j.revision >> 8 = c.revision >> 8
            AND j.at BETWEEN c.created_at AND c.updated_at
    ) AS changed,
    extract(epoch FROM clock_timestamp() - c.updated_at)::float8 AS quiet_seconds,
    extract(epoch FROM clock_timestamp() - (
        SELECT j.at FROM journal j
        WHERE j.canvas_id = $1 AND j.revision > greatest(p.revision, c.deleted_version_revision)
            AND j.revision >> 8 >= greatest(p.revision, c.deleted_version_revision) >> 8
            AND j.at BETWEEN coalesce(p.edited_at, c.created_at) AND c.updated_at
        ORDER BY j.revision >> 8, j.revision
        LIMIT 1
    ))::float8 AS busy_seconds
FROM canvas c LEFT JOIN LATERAL (
    SELECT v.revision, v.edited_at FROM version v WHERE v.canvas_id = c.id ORDER BY v.revision DESC LIMIT 1
) p ON true
WHERE c.id = $1 AND c.deleted_at IS NULL

-- name: unversioned_canvases
-- List at most $2 canvases that were changed in the last $1 seconds and have edits after their newest version and their
-- deleted versions, if the journal still has the last edit. The canvases without a change for the longest time are first,
-- because a replica remembers the others. This reads the whole table of canvases.
--
-- The sub-select of the journal has a LIMIT instead of an EXISTS, because PostgreSQL would read the whole journal for an
-- EXISTS.
SELECT c.id FROM canvas c
WHERE c.deleted_at IS NULL AND c.updated_at > clock_timestamp() - make_interval(secs => $1)
    AND c.revision > c.deleted_version_revision
    AND c.revision > coalesce((
        SELECT max(v.revision) FROM version v WHERE v.canvas_id = c.id
    ), 0)
    AND (
        SELECT true FROM journal j
        WHERE j.canvas_id = c.id AND j.revision = c.revision AND j.revision >> 8 = c.revision >> 8
            AND j.at BETWEEN c.created_at AND c.updated_at
        LIMIT 1
    )
ORDER BY c.updated_at
LIMIT $2

-- name: thin_versions
-- Delete surplus versions of a canvas; versions with a name are neither counted nor deleted. Of the automatic versions
-- that are older than $2 seconds, the last of each hour stays. Of all versions that are older than $3 seconds, the last
-- of each day (UTC) stays. No version stays that is older than the $4 newest versions. Versions that were made before a
-- restore or an import are not automatic, so the rule of the hour does not apply to them.
--
-- DELETE repeats the condition on `name`, because another transaction may name a version after `ranked` was read. For
-- such a row, PostgreSQL checks only the conditions on `version` again.
WITH ranked AS (
    SELECT id,
        row_number() OVER (PARTITION BY period, distinct_id ORDER BY at DESC, id DESC) AS place,
        row_number() OVER (ORDER BY at DESC, id DESC) AS rank
    FROM (
        SELECT v.id, v.at,
            CASE WHEN v.at <= clock_timestamp() - make_interval(secs => $3) THEN 'day'
            WHEN v.at <= clock_timestamp() - make_interval(secs => $2) AND v.kind = 'automatic' THEN 'hour'
            END AS unit,
            v.id AS own_id
        FROM version v WHERE v.canvas_id = $1 AND v.name IS NULL
    ) aged,
    LATERAL (
        SELECT date_trunc(coalesce(aged.unit, 'hour'), aged.at, 'UTC') AS period,
            CASE WHEN aged.unit IS NULL THEN aged.own_id ELSE aged.unit END AS distinct_id
    ) grouped
)
DELETE FROM version v USING ranked r
WHERE v.id = r.id AND v.name IS NULL AND (r.place > 1 OR r.rank > $4)
RETURNING v.id

-- name: expiring_named_versions
-- List at most $2 revisions that were committed before $1, or have a named version from before $1, and still need the
-- journal. The time of the version alone may be too late, because the clock may have been set back since.
SELECT canvas_id, revision FROM version
WHERE least(at, edited_at) < $1 AND content IS NULL AND name IS NOT NULL
GROUP BY canvas_id, revision
ORDER BY min(least(at, edited_at))
LIMIT $2

-- name: keep_version_content
-- Store the content of a revision once for all its named versions, and mark them with an empty `version.content`. Store
-- nothing for a canvas that was removed meanwhile. The canvas is locked before its versions, as its removal does.
WITH present AS MATERIALIZED (
    SELECT id FROM canvas WHERE id = $1 FOR KEY SHARE
), kept AS (
    INSERT INTO version_content (canvas_id, revision, content) SELECT id, $2, $3 FROM present
    ON CONFLICT (canvas_id, revision) DO NOTHING
)
UPDATE version SET content = ''
WHERE canvas_id = $1 AND revision = $2 AND content IS NULL AND name IS NOT NULL AND EXISTS (SELECT FROM present)

-- name: drop_orphan_content
-- Delete content without a version. Such content remains when the last two versions of a revision are deleted at the
-- same time.
DELETE FROM version_content c
WHERE NOT EXISTS (SELECT FROM version v WHERE v.canvas_id = c.canvas_id AND v.revision = c.revision)

-- name: expire_versions
-- Delete at most $2 versions without a name that were made before $1. DELETE repeats the condition on `name`, as in
-- thin_versions.
DELETE FROM version WHERE name IS NULL AND id IN (
    SELECT id FROM version WHERE at < $1 AND content IS NULL AND name IS NULL LIMIT $2
)
RETURNING id
