-- The job engine. jobs is the record and the command outbox, job_events the history and the fact outbox.

-- +goose Up
CREATE TABLE jobs (
    id               uuid PRIMARY KEY,
    organization_id  uuid        NOT NULL REFERENCES organizations (id),
    -- created_by and project_id are kept as history without a foreign key: every submit would lock those rows for nothing,
    -- since users and projects are deactivated, not deleted.
    created_by       uuid,
    project_id       uuid,
    agent_config_id  uuid,
    conversation_id  uuid,
    document_id      uuid,
    parent_id        uuid,
    kind             text        NOT NULL CHECK (kind <> ''),
    class            text        NOT NULL DEFAULT 'interactive' CHECK (class IN ('interactive', 'bulk')),
    priority         smallint    NOT NULL DEFAULT 5 CHECK (priority BETWEEN 1 AND 9),
    status           text        NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
    waiting_on       text        NOT NULL DEFAULT '' CHECK (waiting_on IN (
        '', 'schedule', 'fairness', 'quota', 'provider', 'approval', 'worker', 'children')),
    input            jsonb       NOT NULL,
    result           jsonb,
    error_code       text,
    error_message    text,
    dead             boolean     NOT NULL DEFAULT false,
    attempt          integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    max_attempts     integer     NOT NULL DEFAULT 5 CHECK (max_attempts >= 1),
    lease_epoch      bigint      NOT NULL DEFAULT 0 CHECK (lease_epoch >= 0),
    lease_expires_at timestamptz,
    leased_by        text,
    last_seq         bigint      NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
    dispatch_no      integer     NOT NULL DEFAULT 0 CHECK (dispatch_no >= 0),
    dispatched_at    timestamptz,
    run_at           timestamptz NOT NULL DEFAULT now(),
    deadline_at      timestamptz,
    children_open    integer     NOT NULL DEFAULT 0 CHECK (children_open >= 0),
    progress_stage   text        NOT NULL DEFAULT '',
    progress_done    integer     NOT NULL DEFAULT 0 CHECK (progress_done >= 0),
    progress_total   integer     NOT NULL DEFAULT 0 CHECK (progress_total >= 0),
    traceparent      text        NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    -- Also the index behind "newest jobs of this organization", read backwards.
    CONSTRAINT jobs_organization_id_id_key UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, parent_id) REFERENCES jobs (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, agent_config_id)
        REFERENCES agent_configs (organization_id, id) ON DELETE SET NULL (agent_config_id),
    FOREIGN KEY (organization_id, conversation_id)
        REFERENCES conversations (organization_id, id) ON DELETE SET NULL (conversation_id),
    FOREIGN KEY (organization_id, document_id)
        REFERENCES documents (organization_id, id) ON DELETE SET NULL (document_id),
    -- A running job without a lease would never be taken over.
    CONSTRAINT jobs_lease_check CHECK (status <> 'running' OR lease_expires_at IS NOT NULL),
    CONSTRAINT jobs_finished_check
        CHECK ((status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT jobs_dead_check CHECK (NOT dead OR status = 'failed')
) WITH (
    -- Every job is updated several times: room on the page, and a vacuum that does not wait for a fifth of the table.
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000
);
-- The dispatcher's three questions: whose turn is it, how many are with the broker, when does the next one come due.
-- Interactive sorts before bulk.
CREATE INDEX jobs_turn_idx ON jobs (kind, class DESC, priority, id) WHERE status = 'queued' AND dispatched_at IS NULL;
CREATE INDEX jobs_dispatched_idx ON jobs (kind, dispatched_at) WHERE status = 'queued' AND dispatched_at IS NOT NULL;
CREATE INDEX jobs_due_idx ON jobs (run_at) WHERE status = 'queued' AND dispatched_at IS NULL;
CREATE INDEX jobs_lease_idx ON jobs (lease_expires_at) WHERE status = 'running';
-- The newest jobs of somebody who may see only his own.
CREATE INDEX jobs_created_by_idx ON jobs (created_by, id);
CREATE INDEX jobs_parent_id_idx ON jobs (parent_id);
CREATE INDEX jobs_document_id_idx ON jobs (document_id);
CREATE INDEX jobs_agent_config_id_idx ON jobs (agent_config_id);
CREATE INDEX jobs_conversation_id_idx ON jobs (conversation_id);

CREATE TABLE job_events (
    job_id          uuid        NOT NULL,
    organization_id uuid        NOT NULL,
    -- Counts from 1 within the job, taken from jobs.last_seq under the row's lock: commit order.
    seq             bigint      NOT NULL CHECK (seq >= 1),
    type            text        NOT NULL CHECK (type <> ''),
    -- json keeps the bytes as they were written, so that a stream says the same when it is read again.
    data            json        NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, seq),
    FOREIGN KEY (organization_id, job_id) REFERENCES jobs (organization_id, id) ON DELETE CASCADE
);

-- One row for each finished step of a run: a crash resumes after the last of them.
CREATE TABLE run_steps (
    job_id          uuid        NOT NULL,
    organization_id uuid        NOT NULL,
    step_no         integer     NOT NULL CHECK (step_no >= 0),
    kind            text        NOT NULL CHECK (kind <> ''),
    name            text        NOT NULL DEFAULT '',
    input_hash      text        NOT NULL DEFAULT '',
    output          jsonb,
    usage           jsonb,
    attempt         integer     NOT NULL DEFAULT 1 CHECK (attempt >= 0),
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz NOT NULL,
    PRIMARY KEY (job_id, step_no),
    FOREIGN KEY (organization_id, job_id) REFERENCES jobs (organization_id, id) ON DELETE CASCADE
);

CREATE TABLE idempotency_keys (
    organization_id uuid        NOT NULL REFERENCES organizations (id),
    -- Method and path: the same key on another operation is another key.
    scope           text        NOT NULL,
    key             text        NOT NULL CHECK (key <> ''),
    body_hash       bytea       NOT NULL,
    -- The stored answer; null while the first request is still in flight.
    status          integer,
    response        jsonb,
    headers         jsonb,
    -- No foreign key: this row is written first, to win or lose the race before any work is done.
    job_id          uuid,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (organization_id, scope, key)
);
CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at);

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE run_steps;
DROP TABLE job_events;
DROP TABLE jobs;
