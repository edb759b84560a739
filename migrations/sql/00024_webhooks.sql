-- Webhooks: whom a tenant wants told of what, how far its events have been looked at, and what was sent with what success.

-- +goose Up
CREATE TABLE webhooks (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id),
    created_by      uuid,
    url             text        NOT NULL CHECK (url <> ''),
    description     text        NOT NULL DEFAULT '',
    event_types     text[]      NOT NULL CHECK (cardinality(event_types) > 0),
    -- Empty is every kind.
    job_kinds       text[]      NOT NULL DEFAULT '{}',
    is_active       boolean     NOT NULL DEFAULT true,
    -- Why it was turned off, where nobody did.
    disabled_reason text        NOT NULL DEFAULT '',
    -- Since when no delivery has succeeded; null while they do.
    failing_since   timestamptz,
    -- Sealed: the key is not in the database. The previous secret signs beside the new one for some time.
    secret          bytea       NOT NULL,
    previous_secret bytea       NOT NULL DEFAULT '',
    previous_until  timestamptz,
    -- What could be seen then is not told: it was before the webhook was made, or turned on again.
    since           pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_organization_id_id_key UNIQUE (organization_id, id)
);
SELECT isolate('webhooks');

-- How far the events of a tenant that has webhooks were looked at: a place in job_events_feed_idx. Tenants without webhooks have no row.
CREATE TABLE webhook_feeds (
    organization_id uuid        PRIMARY KEY REFERENCES organizations (id),
    xid             xid8        NOT NULL,
    job_id          uuid        NOT NULL,
    seq             bigint      NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
SELECT isolate('webhook_feeds');
-- The engine finds out whose feeds have something new; only the tenant's own transaction moves them on.
CREATE POLICY engine ON webhook_feeds FOR SELECT TO copilot_engine USING (true);
GRANT SELECT ON webhook_feeds TO copilot_engine;

CREATE TABLE webhook_deliveries (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL,
    webhook_id      uuid        NOT NULL,
    -- The same for every attempt and for all webhooks that are told of one thing.
    message_id      text        NOT NULL CHECK (message_id <> ''),
    event_type      text        NOT NULL CHECK (event_type <> ''),
    -- json keeps the bytes as they were written: they are what is signed.
    payload         json        NOT NULL,
    -- The job that delivers it, or did last.
    job_id          uuid        NOT NULL,
    status          text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    attempt_count   integer     NOT NULL DEFAULT 0 CHECK (attempt_count >= 0),
    attempts        jsonb       NOT NULL DEFAULT '[]',
    next_attempt_at timestamptz,
    finished_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    -- One message reaches a webhook as one delivery, however often its event is looked at.
    CONSTRAINT webhook_deliveries_message_key UNIQUE (organization_id, webhook_id, message_id),
    FOREIGN KEY (organization_id, webhook_id) REFERENCES webhooks (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_webhook_idx ON webhook_deliveries (organization_id, webhook_id, id);
CREATE INDEX webhook_deliveries_status_idx ON webhook_deliveries (organization_id, webhook_id, status, id);
CREATE INDEX webhook_deliveries_finished_idx ON webhook_deliveries (organization_id, finished_at) WHERE finished_at IS NOT NULL;
SELECT isolate('webhook_deliveries');

-- +goose Down
DROP TABLE webhook_deliveries;
DROP TABLE webhook_feeds;
DROP TABLE webhooks;
