-- The bytes that edits added to the journal on a day (UTC), by account and by canvas. They are counted in memory and
-- added every few seconds.
CREATE TABLE account_usage (
    day date NOT NULL,
    user_id text NOT NULL,
    journal_bytes bigint NOT NULL,
    PRIMARY KEY (day, user_id)
) WITH (fillfactor = 80);

CREATE TABLE canvas_usage (
    day date NOT NULL,
    canvas_id text NOT NULL,
    journal_bytes bigint NOT NULL,
    PRIMARY KEY (day, canvas_id)
) WITH (fillfactor = 80);

-- The size of each canvas after its newest counted edit: the bytes of the newest snapshot and of the journal after it.
CREATE TABLE canvas_size (
    canvas_id text PRIMARY KEY,
    content_bytes bigint NOT NULL
);

CREATE INDEX canvas_size_large ON canvas_size (content_bytes);

-- For the number of canvases that an account created.
CREATE INDEX canvas_creator ON canvas (created_by, created_at DESC);

-- The outbox of domain events. Its rows are written in the transaction of the change. A row that was relayed is kept
-- for its deliveries. Events of other services are recorded here when their service hands them over.
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

CREATE TABLE webhook (
    id text PRIMARY KEY,
    url text NOT NULL,
    -- The types of events to deliver. An empty array means all.
    types text[] NOT NULL,
    note text NOT NULL,
    active boolean NOT NULL,
    -- Signs the deliveries, so it is stored as it is.
    secret text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE webhook_delivery (
    id text PRIMARY KEY,
    webhook_id text NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    event_id text NOT NULL REFERENCES event (id) ON DELETE CASCADE,
    entity_id text NOT NULL,
    -- The order of delivery. When an admin requests a delivery again, it gets a new number, behind the others.
    number bigint NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The start of the time in which failed attempts are repeated: the first attempt, or a later time at which the
    -- webhook became active again.
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The time of the next attempt. While an attempt runs, the time after which the attempt counts as lost.
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at timestamptz,
    response_status integer,
    error text
);

CREATE SEQUENCE webhook_delivery_number OWNED BY webhook_delivery.number;
ALTER TABLE webhook_delivery ALTER COLUMN number SET DEFAULT nextval('webhook_delivery_number');

CREATE INDEX webhook_delivery_due ON webhook_delivery (webhook_id, due_at) WHERE status = 'pending';
CREATE INDEX webhook_delivery_order ON webhook_delivery (webhook_id, entity_id, number) WHERE status = 'pending';
CREATE INDEX webhook_delivery_dead ON webhook_delivery (webhook_id) WHERE status = 'dead';
CREATE INDEX webhook_delivery_list ON webhook_delivery (webhook_id, created_at DESC, id DESC);
CREATE INDEX webhook_delivery_event ON webhook_delivery (event_id);
