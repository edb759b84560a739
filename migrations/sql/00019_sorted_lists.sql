-- Documents sorted by title or change, and messages of one role.

-- +goose Up
CREATE INDEX documents_title_idx ON documents (organization_id, title, id) WHERE is_active;
CREATE INDEX documents_updated_at_idx ON documents (organization_id, updated_at, id) WHERE is_active;
CREATE INDEX documents_type_title_idx ON documents (organization_id, document_type, title, id) WHERE is_active;
CREATE INDEX documents_type_updated_at_idx ON documents (organization_id, document_type, updated_at, id) WHERE is_active;

CREATE INDEX messages_conversation_role_idx ON messages (organization_id, conversation_id, role, id);
DROP INDEX messages_role_idx;

-- +goose Down
CREATE INDEX messages_role_idx ON messages (conversation_id, role);
DROP INDEX messages_conversation_role_idx;
DROP INDEX documents_type_updated_at_idx, documents_type_title_idx, documents_updated_at_idx, documents_title_idx;
