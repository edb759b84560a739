-- One's own conversations in a project, or with an agent: without these, all of one's own are walked for the few that match.

-- +goose Up
CREATE INDEX conversations_user_project_idx ON conversations (organization_id, user_id, project_id, id);
CREATE INDEX conversations_user_agent_idx ON conversations (organization_id, user_id, agent_config_id, id);

-- +goose Down
DROP INDEX conversations_user_agent_idx, conversations_user_project_idx;
