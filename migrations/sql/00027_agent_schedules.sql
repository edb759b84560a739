-- Schedules: agents that run by themselves, at times that a cron expression names, in somebody's name.

-- +goose Up
CREATE TABLE agent_schedules (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL,
    agent_config_id uuid        NOT NULL,
    -- Whose runs they are.
    user_id         uuid        NOT NULL,
    -- What the runs may at most, where an API key has made or changed the schedule; empty is what the user may.
    scopes          text[]      NOT NULL DEFAULT '{}',
    name            text        NOT NULL CHECK (name <> ''),
    cron            text        NOT NULL CHECK (cron <> ''),
    timezone        text        NOT NULL CHECK (timezone <> ''),
    -- What becomes of a time at which the run before is still under way.
    overlap         text        NOT NULL DEFAULT 'skip' CHECK (overlap IN ('skip', 'allow')),
    -- What the agent is asked to do.
    user_input      text        NOT NULL DEFAULT '',
    input           jsonb       NOT NULL DEFAULT '{}',
    system_prompt   text        NOT NULL DEFAULT '',
    max_iterations  integer     NOT NULL DEFAULT 0 CHECK (max_iterations >= 0),
    -- How the runs wait for their turn.
    class           text        NOT NULL DEFAULT 'bulk' CHECK (class IN ('interactive', 'bulk')),
    priority        smallint    NOT NULL DEFAULT 5 CHECK (priority BETWEEN 1 AND 9),
    timeout_seconds integer     NOT NULL DEFAULT 0 CHECK (timeout_seconds >= 0),
    is_active       boolean     NOT NULL DEFAULT true,
    -- Why it was turned off, where nobody did.
    disabled_reason text        NOT NULL DEFAULT '',
    next_run_at     timestamptz,
    -- The last run, which may be gone by now, and the last time that was left out.
    last_run_at     timestamptz,
    last_job_id     uuid,
    last_skipped_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_schedules_next_run_at_check CHECK (is_active = (next_run_at IS NOT NULL)),
    CONSTRAINT agent_schedules_organization_id_id_key UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, agent_config_id) REFERENCES agent_configs (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX agent_schedules_agent_idx ON agent_schedules (organization_id, agent_config_id, id);
CREATE INDEX agent_schedules_user_idx ON agent_schedules (organization_id, user_id, id);
CREATE INDEX agent_schedules_due_idx ON agent_schedules (next_run_at, id) WHERE next_run_at IS NOT NULL;
SELECT isolate('agent_schedules');
-- The engine finds out whose time has come; only the tenant's own transaction makes runs of it.
CREATE POLICY engine ON agent_schedules FOR SELECT TO copilot_engine USING (true);
GRANT SELECT (id, organization_id, next_run_at) ON agent_schedules TO copilot_engine;

-- +goose Down
DROP TABLE agent_schedules;
