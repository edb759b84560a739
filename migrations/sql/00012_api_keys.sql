-- Keys by which programs work in a user's name, within scopes and never beyond what the user may do. Only a key's hash is kept.

-- +goose Up
CREATE TABLE api_keys (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    name            text        NOT NULL CHECK (name <> ''),
    -- What people see of the key, to tell it from others.
    prefix          text        NOT NULL,
    key_hash        bytea       NOT NULL CHECK (length(key_hash) = 32),
    scopes          text[]      NOT NULL CHECK (cardinality(scopes) > 0),
    expires_at      timestamptz,
    last_used_at    timestamptz,
    last_used_ip    text        NOT NULL DEFAULT '',
    -- A key that was deleted; the row stays, because the audit log names it.
    revoked_at      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT api_keys_key_hash_key UNIQUE (organization_id, key_hash),
    CONSTRAINT api_keys_organization_id_id_key UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX api_keys_user_idx ON api_keys (organization_id, user_id, id) WHERE revoked_at IS NULL;
SELECT isolate('api_keys');

-- A session is known by its family's one token that is not spent yet.
CREATE INDEX refresh_tokens_sessions_idx ON refresh_tokens (organization_id, user_id, family_id)
    WHERE used_at IS NULL AND revoked_at IS NULL;

-- +goose Down
DROP INDEX refresh_tokens_sessions_idx;
DROP TABLE api_keys;
