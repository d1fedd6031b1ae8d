-- The canvases of which the removal has begun. Their number is small, and deleted canvases may be many.
CREATE INDEX canvas_purge_began ON canvas (deleted_at) WHERE purge_began_at IS NOT NULL;
