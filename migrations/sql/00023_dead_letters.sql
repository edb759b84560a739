-- What failed can be done again, as a new job that says whose retry it is: every job ends once. A dead job waits for somebody to decide
-- whether to retry or to discard it, and is dead no longer when that is done.

-- +goose Up
ALTER TABLE jobs
    ADD COLUMN retry_of     uuid,
    ADD COLUMN retried_as   uuid,
    ADD COLUMN discarded_at timestamptz,
    ADD CONSTRAINT jobs_decided_check
        CHECK (retried_as IS NULL AND discarded_at IS NULL OR NOT dead AND status IN ('failed', 'cancelled'));
CREATE INDEX jobs_dead_idx ON jobs (organization_id, id) WHERE dead;

-- How many runs of an agent may be under way at once; 0 is no limit.
ALTER TABLE agent_configs ADD COLUMN max_concurrent_runs integer NOT NULL DEFAULT 0 CHECK (max_concurrent_runs >= 0);

-- +goose Down
ALTER TABLE agent_configs DROP COLUMN max_concurrent_runs;
DROP INDEX jobs_dead_idx;
ALTER TABLE jobs
    DROP CONSTRAINT jobs_decided_check, DROP COLUMN discarded_at, DROP COLUMN retried_as, DROP COLUMN retry_of;
