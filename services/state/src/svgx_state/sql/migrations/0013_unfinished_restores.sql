-- The time at which a restore has created this canvas, or null. `deleted_at` has the same value until the restore has
-- completed the canvas. Every completion, undeletion or deletion changes `deleted_at`, also in an older version of the
-- service.
ALTER TABLE canvas ADD COLUMN hidden_at timestamptz;

-- The canvases without content that earlier restores have created and not completed.
UPDATE canvas c SET hidden_at = c.deleted_at
WHERE c.restored_by IS NOT NULL AND c.revision = 0 AND c.deleted_at IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM restored_canvas r
        WHERE r.canvas_id = c.id AND r.restore_id >= c.restored_by
            AND r.outcome IN ('created', 'undeleted', 'replaced'));
