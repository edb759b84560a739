-- What tenants make: agents, conversations with their messages, documents with their chunks.

-- +goose Up
CREATE TABLE agent_configs (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id),
    -- Null: the agent serves the whole organization.
    project_id      uuid,
    name            text        NOT NULL CHECK (name <> ''),
    description     text        NOT NULL DEFAULT '',
    agent_type      text        NOT NULL DEFAULT 'custom' CHECK (agent_type IN (
        'rfp', 'jira', 'documentation', 'hr', 'finance', 'document_analyzer', 'chat_agent', 'custom')),
    llm_config      jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(llm_config) = 'object'),
    tools_config    jsonb       NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(tools_config) = 'array'),
    system_prompt   text        NOT NULL DEFAULT '',
    knowledge_bases jsonb       NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(knowledge_bases) = 'array'),
    parameters      jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(parameters) = 'object'),
    agent_metadata  jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(agent_metadata) = 'object'),
    is_active       boolean     NOT NULL DEFAULT true,
    is_default      boolean     NOT NULL DEFAULT false,
    version         integer     NOT NULL DEFAULT 1 CHECK (version >= 1),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_configs_organization_id_id_key UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, project_id) REFERENCES projects (organization_id, id)
);
CREATE INDEX agent_configs_project_id_idx ON agent_configs (project_id);
CREATE INDEX agent_configs_agent_type_idx ON agent_configs (organization_id, agent_type);
CREATE INDEX agent_configs_is_active_idx ON agent_configs (organization_id, is_active);

CREATE TABLE conversations (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id),
    user_id         uuid        NOT NULL,
    project_id      uuid,
    agent_config_id uuid,
    title           text        NOT NULL DEFAULT '',
    description     text        NOT NULL DEFAULT '',
    context         jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(context) = 'object'),
    conv_metadata   jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(conv_metadata) = 'object'),
    message_count   integer     NOT NULL DEFAULT 0 CHECK (message_count >= 0),
    is_active       boolean     NOT NULL DEFAULT true,
    is_archived     boolean     NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT conversations_organization_id_id_key UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, user_id) REFERENCES users (organization_id, id),
    FOREIGN KEY (organization_id, project_id) REFERENCES projects (organization_id, id),
    FOREIGN KEY (organization_id, agent_config_id)
        REFERENCES agent_configs (organization_id, id) ON DELETE SET NULL (agent_config_id)
);
CREATE INDEX conversations_user_id_idx ON conversations (user_id, id);
CREATE INDEX conversations_project_id_idx ON conversations (project_id);
CREATE INDEX conversations_agent_config_id_idx ON conversations (agent_config_id);
CREATE INDEX conversations_is_active_idx ON conversations (organization_id, is_active);

CREATE TABLE messages (
    id                 uuid PRIMARY KEY,
    organization_id    uuid        NOT NULL,
    conversation_id    uuid        NOT NULL,
    role               text        NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    content            text        NOT NULL DEFAULT '',
    tokens_used        integer     NOT NULL DEFAULT 0 CHECK (tokens_used >= 0),
    processing_time_ms integer     NOT NULL DEFAULT 0 CHECK (processing_time_ms >= 0),
    msg_metadata       jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(msg_metadata) = 'object'),
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (organization_id, conversation_id) REFERENCES conversations (organization_id, id) ON DELETE CASCADE
);
-- Ids grow with time, so this is the order in which a conversation is read.
CREATE INDEX messages_conversation_id_idx ON messages (conversation_id, id);
CREATE INDEX messages_role_idx ON messages (conversation_id, role);

CREATE TABLE documents (
    id                uuid PRIMARY KEY,
    organization_id   uuid        NOT NULL REFERENCES organizations (id),
    project_id        uuid,
    created_by        uuid,
    title             text        NOT NULL CHECK (title <> ''),
    description       text        NOT NULL DEFAULT '',
    document_type     text        NOT NULL DEFAULT '',
    file_name         text        NOT NULL DEFAULT '',
    file_path         text        NOT NULL DEFAULT '',
    file_size         bigint      NOT NULL DEFAULT 0 CHECK (file_size >= 0),
    mime_type         text        NOT NULL DEFAULT '',
    content           text        NOT NULL DEFAULT '',
    content_hash      text        NOT NULL DEFAULT '',
    summary           text        NOT NULL DEFAULT '',
    vector_ids        text[]      NOT NULL DEFAULT '{}',
    embedding_model   text        NOT NULL DEFAULT '',
    chunk_count       integer     NOT NULL DEFAULT 0 CHECK (chunk_count >= 0),
    page_count        integer     NOT NULL DEFAULT 0 CHECK (page_count >= 0),
    is_indexed        boolean     NOT NULL DEFAULT false,
    is_active         boolean     NOT NULL DEFAULT true,
    is_public         boolean     NOT NULL DEFAULT false,
    processing_status text        NOT NULL DEFAULT 'pending'
        CHECK (processing_status IN ('pending', 'processing', 'completed', 'failed')),
    processing_error  text        NOT NULL DEFAULT '',
    tags              text[]      NOT NULL DEFAULT '{}',
    doc_metadata      jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(doc_metadata) = 'object'),
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT documents_organization_id_id_key UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, project_id) REFERENCES projects (organization_id, id),
    FOREIGN KEY (organization_id, created_by) REFERENCES users (organization_id, id) ON DELETE SET NULL (created_by)
);
CREATE INDEX documents_project_id_idx ON documents (project_id);
CREATE INDEX documents_created_by_idx ON documents (created_by);
CREATE INDEX documents_document_type_idx ON documents (organization_id, document_type);
CREATE INDEX documents_is_active_idx ON documents (organization_id, is_active);
CREATE INDEX documents_processing_status_idx ON documents (organization_id, processing_status);
CREATE INDEX documents_content_hash_idx ON documents (organization_id, content_hash);
CREATE INDEX documents_tags_idx ON documents USING gin (tags);

CREATE TABLE document_chunks (
    id              uuid PRIMARY KEY,
    organization_id uuid        NOT NULL,
    document_id     uuid        NOT NULL,
    chunk_index     integer     NOT NULL CHECK (chunk_index >= 0),
    text            text        NOT NULL,
    -- Pages count from 1; 0 where the format has none.
    page            integer     NOT NULL DEFAULT 0 CHECK (page >= 0),
    end_page        integer     NOT NULL DEFAULT 0 CHECK (end_page >= page),
    headings        text[]      NOT NULL DEFAULT '{}',
    start_offset    integer     NOT NULL DEFAULT 0 CHECK (start_offset >= 0),
    end_offset      integer     NOT NULL DEFAULT 0 CHECK (end_offset >= start_offset),
    tokens          integer     NOT NULL DEFAULT 0 CHECK (tokens >= 0),
    point_id        uuid,
    embedding_model text,
    embedded_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT document_chunks_chunk_index_key UNIQUE (document_id, chunk_index),
    FOREIGN KEY (organization_id, document_id) REFERENCES documents (organization_id, id) ON DELETE CASCADE,
    CONSTRAINT document_chunks_embedded_check
        CHECK (embedded_at IS NULL OR (point_id IS NOT NULL AND embedding_model IS NOT NULL))
);

-- +goose Down
DROP TABLE document_chunks;
DROP TABLE documents;
DROP TABLE messages;
DROP TABLE conversations;
DROP TABLE agent_configs;
