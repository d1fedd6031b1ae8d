-- The outbox of domain events. Its rows are written in the transaction of the change. A row that was relayed is kept
-- for some time, so that operators can look at it.
CREATE TABLE event (
    id text PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    type text NOT NULL,
    service text NOT NULL,
    entity_id text NOT NULL,
    actor text,
    data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    relayed_at timestamptz
);

CREATE INDEX event_unrelayed ON event (number) WHERE relayed_at IS NULL;
CREATE INDEX event_at ON event (at);
