-- Jobs that flow: the dispatcher remembers what it has handed to the broker and writes nothing for it, finds each tenant's next job by
-- an index of its own, and keeps limits. Events know their transaction, in whose order a tenant's feed shows them.

-- +goose Up
-- Their indexes go with them.
ALTER TABLE jobs DROP COLUMN dispatched_at, DROP COLUMN dispatch_no,
    ADD COLUMN agent_limit integer NOT NULL DEFAULT 0 CHECK (agent_limit >= 0);

-- A queued job waits for its turn or for its time, and says which: the dispatcher looks for the first by the first index, and for the
-- second by the second.
ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY;
UPDATE jobs SET waiting_on = 'fairness' WHERE status = 'queued' AND waiting_on IN ('', 'worker') AND run_at <= now();
UPDATE jobs SET waiting_on = 'schedule' WHERE status = 'queued' AND waiting_on IN ('', 'worker', 'fairness') AND run_at > now();
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;
CREATE INDEX jobs_ready_idx ON jobs (kind, organization_id, class DESC, priority, id)
    WHERE status = 'queued' AND waiting_on = 'fairness';
CREATE INDEX jobs_due_idx ON jobs (run_at) WHERE status = 'queued' AND waiting_on <> 'fairness';
CREATE INDEX jobs_deadline_idx ON jobs (deadline_at) WHERE status IN ('queued', 'waiting') AND deadline_at IS NOT NULL;

-- Every change of a job writes all of its indexes: what most jobs do not have is left out of them.
DROP INDEX jobs_parent_id_idx, jobs_document_id_idx, jobs_agent_config_id_idx, jobs_conversation_id_idx;
CREATE INDEX jobs_parent_id_idx ON jobs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_document_id_idx ON jobs (document_id) WHERE document_id IS NOT NULL;
CREATE INDEX jobs_agent_config_id_idx ON jobs (agent_config_id) WHERE agent_config_id IS NOT NULL;
CREATE INDEX jobs_conversation_id_idx ON jobs (conversation_id) WHERE conversation_id IS NOT NULL;

-- A tenant's share of the workers; without a row it is like any other.
CREATE TABLE job_limits (
    organization_id uuid        PRIMARY KEY REFERENCES organizations (id),
    weight          integer     NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),
    max_running     integer     NOT NULL DEFAULT 0 CHECK (max_running >= 0),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
SELECT isolate('job_limits');
CREATE POLICY engine ON job_limits FOR SELECT TO copilot_engine USING (true);
GRANT SELECT ON job_limits TO copilot_engine;

-- What a transaction has written can be read once it and all before it have ended: docs/decisions say how the feed uses that.
ALTER TABLE job_events ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX job_events_feed_idx ON job_events (organization_id, xid, job_id, seq);

-- +goose Down
DROP INDEX job_events_feed_idx;
ALTER TABLE job_events DROP COLUMN xid;
DROP TABLE job_limits;
DROP INDEX jobs_conversation_id_idx, jobs_agent_config_id_idx, jobs_document_id_idx, jobs_parent_id_idx;
CREATE INDEX jobs_parent_id_idx ON jobs (parent_id);
CREATE INDEX jobs_document_id_idx ON jobs (document_id);
CREATE INDEX jobs_agent_config_id_idx ON jobs (agent_config_id);
CREATE INDEX jobs_conversation_id_idx ON jobs (conversation_id);
DROP INDEX jobs_deadline_idx, jobs_due_idx, jobs_ready_idx;
ALTER TABLE jobs
    DROP COLUMN agent_limit,
    ADD COLUMN dispatch_no   integer NOT NULL DEFAULT 0 CHECK (dispatch_no >= 0),
    ADD COLUMN dispatched_at timestamptz;
CREATE INDEX jobs_turn_idx ON jobs (kind, class DESC, priority, id) WHERE status = 'queued' AND dispatched_at IS NULL;
CREATE INDEX jobs_dispatched_idx ON jobs (kind, dispatched_at) WHERE status = 'queued' AND dispatched_at IS NOT NULL;
CREATE INDEX jobs_due_idx ON jobs (run_at) WHERE status = 'queued' AND dispatched_at IS NULL;
