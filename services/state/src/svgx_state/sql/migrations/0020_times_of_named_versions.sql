-- The named versions that still need the journal, by their own time or that of their revision, whichever is earlier.
CREATE INDEX version_named_in_journal ON version (least(at, edited_at)) WHERE content IS NULL AND name IS NOT NULL;
