-- Values that admins set while the system runs. `version` counts the changes of one name, from 1.
CREATE TABLE configuration (
    name text PRIMARY KEY,
    version bigint NOT NULL,
    value jsonb NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
