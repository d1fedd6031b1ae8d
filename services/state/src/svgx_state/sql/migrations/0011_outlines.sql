-- The outline of `update` (svgx_canvas.document.outline), with which a reader need not check the update. It is null for small
-- snapshots, and in rows that are older than this column.
ALTER TABLE snapshot ADD COLUMN outline bytea;

-- The bytes are compressed already.
ALTER TABLE snapshot ALTER COLUMN outline SET STORAGE EXTERNAL;
