-- Who changed what. Entries are written in the transaction of their change, never changed, and chained: each hash covers the
-- entry and the hash before it. pkg/store/audit.go says how; `gateway verify-audit` checks it.

-- +goose Up
CREATE TABLE audit_logs (
    organization_id uuid        NOT NULL REFERENCES organizations (id),
    -- Counts from 1 within the organization, without a gap.
    seq             bigint      NOT NULL CHECK (seq >= 1),
    id              uuid        NOT NULL,
    -- Who did it; null for the service itself. No foreign key: what happened stays, whatever becomes of the people.
    actor_id        uuid,
    key_id          uuid,
    action          text        NOT NULL CHECK (action <> ''),
    resource_type   text        NOT NULL CHECK (resource_type <> ''),
    resource_id     uuid,
    -- json keeps the bytes that were hashed.
    before          json,
    after           json,
    ip              text        NOT NULL DEFAULT '',
    user_agent      text        NOT NULL DEFAULT '',
    request_id      text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    hash            bytea       NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (organization_id, seq),
    CONSTRAINT audit_logs_organization_id_id_key UNIQUE (organization_id, id)
);
CREATE INDEX audit_logs_actor_idx ON audit_logs (organization_id, actor_id, seq);
CREATE INDEX audit_logs_action_idx ON audit_logs (organization_id, action, seq);
CREATE INDEX audit_logs_resource_idx ON audit_logs (organization_id, resource_type, resource_id, seq);
CREATE INDEX audit_logs_created_at_idx ON audit_logs (organization_id, created_at);

-- The newest link of each chain, whose row lock keeps two transactions from making the same one.
CREATE TABLE audit_heads (
    organization_id uuid   PRIMARY KEY REFERENCES organizations (id),
    seq             bigint NOT NULL CHECK (seq >= 1),
    hash            bytea  NOT NULL CHECK (length(hash) = 32)
);

SELECT isolate('audit_logs');
SELECT isolate('audit_heads');
REVOKE UPDATE, DELETE ON audit_logs FROM copilot_app;
REVOKE DELETE ON audit_heads FROM copilot_app;

-- Also the owner cannot change history by accident.
-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- +goose Down
DROP TABLE audit_heads;
DROP TABLE audit_logs;
DROP FUNCTION refuse_change();
