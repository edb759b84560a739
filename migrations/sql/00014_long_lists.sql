-- Documents and the audit log in long lists: each filter walks an index in the order of the list.

-- +goose Up
ALTER TABLE documents ADD COLUMN words tsvector
    GENERATED ALWAYS AS (search_words(title || ' ' || description || ' ' || file_name)) STORED;
CREATE INDEX documents_words_idx ON documents USING gin (organization_id, words) WITH (gin_pending_list_limit = 256);
-- Whether an array holds an element is, like a search in text, nothing that an index may answer under row-level security.
CREATE INDEX documents_tenant_tags_idx ON documents USING gin (organization_id, tags) WITH (gin_pending_list_limit = 256);
SELECT searchable('documents');

CREATE INDEX documents_active_idx ON documents (organization_id, is_active, id);
CREATE INDEX documents_type_idx ON documents (organization_id, document_type, id);
CREATE INDEX documents_status_idx ON documents (organization_id, processing_status, id);
CREATE INDEX documents_project_idx ON documents (organization_id, project_id, id);
DROP INDEX documents_tags_idx, documents_is_active_idx, documents_document_type_idx, documents_processing_status_idx,
    documents_project_id_idx;

-- By time and not by number, so that a period is a range of the index.
CREATE INDEX audit_logs_time_idx ON audit_logs (organization_id, created_at, seq);
CREATE INDEX audit_logs_actor_time_idx ON audit_logs (organization_id, actor_id, created_at, seq);
CREATE INDEX audit_logs_action_time_idx ON audit_logs (organization_id, action, created_at, seq);
CREATE INDEX audit_logs_resource_time_idx ON audit_logs (organization_id, resource_type, created_at, seq);
CREATE INDEX audit_logs_resource_id_idx ON audit_logs (organization_id, resource_id, created_at, seq);
DROP INDEX audit_logs_actor_idx, audit_logs_action_idx, audit_logs_resource_idx, audit_logs_created_at_idx;

-- +goose Down
CREATE INDEX audit_logs_created_at_idx ON audit_logs (organization_id, created_at);
CREATE INDEX audit_logs_resource_idx ON audit_logs (organization_id, resource_type, resource_id, seq);
CREATE INDEX audit_logs_action_idx ON audit_logs (organization_id, action, seq);
CREATE INDEX audit_logs_actor_idx ON audit_logs (organization_id, actor_id, seq);
DROP INDEX audit_logs_resource_id_idx, audit_logs_resource_time_idx, audit_logs_action_time_idx, audit_logs_actor_time_idx,
    audit_logs_time_idx;

CREATE INDEX documents_project_id_idx ON documents (project_id);
CREATE INDEX documents_processing_status_idx ON documents (organization_id, processing_status);
CREATE INDEX documents_document_type_idx ON documents (organization_id, document_type);
CREATE INDEX documents_is_active_idx ON documents (organization_id, is_active);
CREATE INDEX documents_tags_idx ON documents USING gin (tags);
DROP INDEX documents_project_idx, documents_status_idx, documents_type_idx, documents_active_idx;
SELECT unsearchable('documents');
DROP INDEX documents_tenant_tags_idx;
ALTER TABLE documents DROP COLUMN words;
