-- Conversations and messages in long lists: found by their words, and walked through in the order and by the filters that lists
-- have. An index is not limited to active rows where it also serves a foreign key.

-- +goose Up
ALTER TABLE conversations ADD COLUMN words tsvector GENERATED ALWAYS AS (search_words(title || ' ' || description)) STORED;
ALTER TABLE messages ADD COLUMN words tsvector GENERATED ALWAYS AS (search_words(content)) STORED;

CREATE INDEX conversations_words_idx ON conversations USING gin (organization_id, user_id, words)
    WITH (gin_pending_list_limit = 256);
CREATE INDEX messages_words_idx ON messages USING gin (organization_id, words) WITH (gin_pending_list_limit = 256);
SELECT searchable('conversations');
SELECT searchable('messages');

CREATE INDEX conversations_active_idx ON conversations (organization_id, is_active, id);
CREATE INDEX conversations_user_idx ON conversations (organization_id, user_id, id);
CREATE INDEX conversations_project_idx ON conversations (organization_id, project_id, id);
CREATE INDEX conversations_agent_idx ON conversations (organization_id, agent_config_id, id);
CREATE INDEX conversations_updated_at_idx ON conversations (organization_id, updated_at, id);
CREATE INDEX conversations_user_updated_at_idx ON conversations (organization_id, user_id, updated_at, id);
-- What is archived is the old, so a walk from the newest would pass all the rest before it.
CREATE INDEX conversations_archived_idx ON conversations (organization_id, id) WHERE is_archived AND is_active;
CREATE INDEX conversations_user_archived_idx ON conversations (organization_id, user_id, id) WHERE is_archived AND is_active;
DROP INDEX conversations_user_id_idx, conversations_project_id_idx, conversations_agent_config_id_idx, conversations_is_active_idx;

CREATE INDEX messages_conversation_idx ON messages (organization_id, conversation_id, id);
DROP INDEX messages_conversation_id_idx;

-- +goose Down
CREATE INDEX messages_conversation_id_idx ON messages (conversation_id, id);
DROP INDEX messages_conversation_idx;

CREATE INDEX conversations_user_id_idx ON conversations (user_id, id);
CREATE INDEX conversations_project_id_idx ON conversations (project_id);
CREATE INDEX conversations_agent_config_id_idx ON conversations (agent_config_id);
CREATE INDEX conversations_is_active_idx ON conversations (organization_id, is_active);
DROP INDEX conversations_user_archived_idx, conversations_archived_idx, conversations_user_updated_at_idx,
    conversations_updated_at_idx, conversations_agent_idx, conversations_project_idx, conversations_user_idx, conversations_active_idx;

SELECT unsearchable('messages');
SELECT unsearchable('conversations');
ALTER TABLE messages DROP COLUMN words;
ALTER TABLE conversations DROP COLUMN words;
