-- Demonstration data. Every row has a fixed id, or is told apart by its natural key, so that running this again adds what is
-- missing and changes nothing that is there. The settings seed.* hold the password hashes and end with the transaction.

INSERT INTO organizations (id, name, domain, description, subscription_plan) VALUES
    ('01900000-0000-7000-8000-000000000a00', 'Acme Corporation', 'acme.com', 'A large customer with every feature', 'enterprise'),
    ('01900000-0000-7000-8000-000000000b00', 'StartUp Inc', 'startup.io', 'A small customer', 'professional')
ON CONFLICT (id) DO NOTHING;

-- The roles every organization starts with, and what each may do. pkg/access says the same for organizations founded later.
CREATE TEMPORARY TABLE seed_role (suffix text, name text, description text) ON COMMIT DROP;
INSERT INTO seed_role VALUES
    ('1', 'Admin', 'Runs the organization: people, roles, agents and everything they make'),
    ('2', 'Project Manager', 'Runs projects: their members, documents and agents at work'),
    ('3', 'Member', 'Works with agents and documents in the projects they belong to'),
    ('4', 'Viewer', 'Reads and searches');

CREATE TEMPORARY TABLE seed_grant (role text, permission text) ON COMMIT DROP;
INSERT INTO seed_grant
SELECT 'Admin', name FROM permissions WHERE is_system AND name NOT LIKE '%:read_project';
INSERT INTO seed_grant
SELECT 'Project Manager', unnest(ARRAY [
    'users:read', 'organization:read',
    'projects:create', 'projects:read', 'projects:read_all', 'projects:update', 'projects:delete', 'projects:members',
    'agents:read', 'agents:execute',
    'conversations:create', 'conversations:read', 'conversations:update', 'conversations:delete',
    'documents:upload', 'documents:read', 'documents:search', 'documents:update', 'documents:delete',
    'embeddings:create', 'jobs:read', 'jobs:read_project', 'jobs:cancel', 'audit:read', 'usage:read'])
UNION ALL
SELECT 'Member', unnest(ARRAY [
    'projects:read', 'agents:read', 'agents:execute',
    'conversations:create', 'conversations:read', 'conversations:update', 'conversations:delete',
    'documents:read', 'documents:search', 'embeddings:create', 'jobs:read', 'jobs:cancel'])
UNION ALL
SELECT 'Viewer', unnest(ARRAY [
    'projects:read', 'agents:read', 'conversations:read', 'conversations:read_project',
    'documents:read', 'documents:search', 'jobs:read']);

CREATE TEMPORARY TABLE seed_organization (id uuid, prefix text) ON COMMIT DROP;
INSERT INTO seed_organization VALUES
    ('01900000-0000-7000-8000-000000000a00', '01900000-0000-7000-8000-000000000a1'),
    ('01900000-0000-7000-8000-000000000b00', '01900000-0000-7000-8000-000000000b1');

INSERT INTO roles (id, organization_id, name, description, is_system)
SELECT (o.prefix || r.suffix)::uuid, o.id, r.name, r.description, true
FROM seed_organization o CROSS JOIN seed_role r
ON CONFLICT (organization_id, name) DO NOTHING;

INSERT INTO role_permissions (organization_id, role_id, permission_id)
SELECT r.organization_id, r.id, p.id
FROM seed_organization o
JOIN roles r ON r.organization_id = o.id AND r.is_system
JOIN seed_grant g ON g.role = r.name
JOIN permissions p ON p.name = g.permission AND p.organization_id IS NULL
ON CONFLICT (role_id, permission_id) DO NOTHING;

INSERT INTO users (id, organization_id, role_id, email, username, full_name, is_verified, email_verified, password_hash)
SELECT u.id, r.organization_id, r.id, u.email, u.username, u.full_name, true, true, current_setting('seed.' || u.username)
FROM (VALUES
    ('01900000-0000-7000-8000-000000000a21'::uuid, '01900000-0000-7000-8000-000000000a00'::uuid, 'Admin',
     'admin@acme.com', 'admin_acme', 'Ada Admin'),
    ('01900000-0000-7000-8000-000000000a22', '01900000-0000-7000-8000-000000000a00', 'Member',
     'member@acme.com', 'member_acme', 'Max Member'),
    ('01900000-0000-7000-8000-000000000b21', '01900000-0000-7000-8000-000000000b00', 'Admin',
     'admin@startup.io', 'admin_startup', 'Sam Starter')
) AS u (id, organization_id, role, email, username, full_name)
JOIN roles r ON r.organization_id = u.organization_id AND r.name = u.role
ON CONFLICT (id) DO NOTHING;

INSERT INTO projects (id, organization_id, created_by, name, description) VALUES
    ('01900000-0000-7000-8000-000000000a31', '01900000-0000-7000-8000-000000000a00', '01900000-0000-7000-8000-000000000a21',
     'AI Assistant Platform', 'Assistants that read the company''s documents'),
    ('01900000-0000-7000-8000-000000000b31', '01900000-0000-7000-8000-000000000b00', '01900000-0000-7000-8000-000000000b21',
     'Customer Support Bot', 'Answers for customers, from the help pages')
ON CONFLICT (id) DO NOTHING;

INSERT INTO project_members (organization_id, project_id, user_id) VALUES
    ('01900000-0000-7000-8000-000000000a00', '01900000-0000-7000-8000-000000000a31', '01900000-0000-7000-8000-000000000a21'),
    ('01900000-0000-7000-8000-000000000a00', '01900000-0000-7000-8000-000000000a31', '01900000-0000-7000-8000-000000000a22'),
    ('01900000-0000-7000-8000-000000000b00', '01900000-0000-7000-8000-000000000b31', '01900000-0000-7000-8000-000000000b21')
ON CONFLICT (project_id, user_id) DO NOTHING;

-- No model is named: the agents run on the one the platform is configured for.
INSERT INTO agent_configs
    (id, organization_id, project_id, name, description, agent_type, llm_config, tools_config, system_prompt, is_default) VALUES
    ('01900000-0000-7000-8000-000000000a41', '01900000-0000-7000-8000-000000000a00', '01900000-0000-7000-8000-000000000a31',
     'Document Analyzer', 'Answers questions from the organization''s documents and names the passages it used',
     'document_analyzer', '{"temperature": 0.7, "max_tokens": 2048, "top_p": 0.9}',
     '[{"name": "search_documents", "enabled": true}]',
     'You answer questions from the organization''s documents. Search before you answer, rely only on the passages you find, '
     'mark every statement with the citation mark of its passage, and say so when the documents do not hold the answer.', true),
    ('01900000-0000-7000-8000-000000000b41', '01900000-0000-7000-8000-000000000b00', '01900000-0000-7000-8000-000000000b31',
     'Chat Support Agent', 'Helps customers in a friendly tone, from the help pages',
     'chat_agent', '{"temperature": 0.5, "max_tokens": 1024}',
     '[{"name": "search_documents", "enabled": true}]',
     'You help customers. Be friendly and brief, search the documents for the facts, and cite the passages you rely on.', true)
ON CONFLICT (id) DO NOTHING;
