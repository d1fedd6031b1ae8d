-- The outline of `update` (svgx_canvas.document.outline), with which a reader need not check the update. It is null if
-- the snapshot has no outline, for example because it is small, older than this column, or not among the newest two.
ALTER TABLE snapshot ADD COLUMN outline bytea;

-- The bytes are compressed already.
ALTER TABLE snapshot ALTER COLUMN outline SET STORAGE EXTERNAL;
