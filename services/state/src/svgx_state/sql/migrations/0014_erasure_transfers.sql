-- The new owner of the user's canvases, or null if they are deleted. The last pass also needs the new owner, because
-- the user may have joined or created a canvas during the first pass. Null after the last pass.
ALTER TABLE erasure ADD COLUMN transfer_to text;
