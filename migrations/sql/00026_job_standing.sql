-- What a console and the metrics tell of the queues: which plan a tenant is on, and the jobs that are in no other index while they are
-- open. Most jobs never are in this one.

-- +goose Up
CREATE POLICY engine ON organizations FOR SELECT TO copilot_engine USING (true);
GRANT SELECT (id, subscription_plan) ON organizations TO copilot_engine;

CREATE INDEX jobs_held_idx ON jobs (organization_id, kind)
    WHERE status = 'waiting' OR status = 'queued' AND waiting_on <> 'fairness';

-- +goose Down
DROP INDEX jobs_held_idx;
REVOKE SELECT (id, subscription_plan) ON organizations FROM copilot_engine;
DROP POLICY engine ON organizations;
