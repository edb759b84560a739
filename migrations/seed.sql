-- Demonstration data, one organization at a time: row-level security binds the owner, too, so this runs once for each of
-- them, with app.tenant_id set to its id, and every statement keeps to that organization.
--
-- Every row has a fixed id, or is told apart by its natural key, so that running this again adds what is missing and changes
-- nothing that is there. The settings seed.* hold the password hashes and end with the transaction.

INSERT INTO organizations (id, name, domain, description, subscription_plan)
SELECT o.id, o.name, o.domain, o.description, o.subscription_plan
FROM (VALUES
    ('01900000-0000-7000-8000-000000000a00'::uuid, 'Acme Corporation', 'acme.com',
     'A large customer with every feature', 'enterprise'),
    ('01900000-0000-7000-8000-000000000b00', 'StartUp Inc', 'startup.io', 'A small customer', 'professional')
) AS o (id, name, domain, description, subscription_plan)
WHERE o.id = current_setting('app.tenant_id')::uuid
ON CONFLICT (id) DO NOTHING;

-- The roles every organization starts with, and what each may do. pkg/access says the same for organizations founded later.
-- Their ids are the organization's, with the 00 at its end replaced.
INSERT INTO roles (id, organization_id, name, description, is_system)
SELECT (left(current_setting('app.tenant_id'), -2) || r.suffix)::uuid, current_setting('app.tenant_id')::uuid,
    r.name, r.description, true
FROM (VALUES
    ('11', 'Admin', 'Runs the organization: people, roles, agents and everything they make'),
    ('12', 'Project Manager', 'Runs projects: their members, documents and agents at work'),
    ('13', 'Member', 'Works with agents and documents in the projects they belong to'),
    ('14', 'Viewer', 'Reads and searches')
) AS r (suffix, name, description)
ON CONFLICT (organization_id, name) DO NOTHING;

WITH granted (role, permission) AS (
    SELECT 'Admin', name FROM permissions WHERE is_system AND name NOT LIKE '%:read_project'
    UNION ALL
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
        'documents:read', 'documents:search', 'jobs:read'])
)
INSERT INTO role_permissions (organization_id, role_id, permission_id)
SELECT r.organization_id, r.id, p.id
FROM roles r
JOIN granted g ON g.role = r.name
JOIN permissions p ON p.name = g.permission AND p.organization_id IS NULL
WHERE r.organization_id = current_setting('app.tenant_id')::uuid AND r.is_system
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
WHERE u.organization_id = current_setting('app.tenant_id')::uuid
ON CONFLICT (id) DO NOTHING;

INSERT INTO projects (id, organization_id, created_by, name, description)
SELECT p.id, p.organization_id, p.created_by, p.name, p.description
FROM (VALUES
    ('01900000-0000-7000-8000-000000000a31'::uuid, '01900000-0000-7000-8000-000000000a00'::uuid,
     '01900000-0000-7000-8000-000000000a21'::uuid,
     'AI Assistant Platform', 'Assistants that read the company''s documents'),
    ('01900000-0000-7000-8000-000000000b31', '01900000-0000-7000-8000-000000000b00', '01900000-0000-7000-8000-000000000b21',
     'Customer Support Bot', 'Answers for customers, from the help pages')
) AS p (id, organization_id, created_by, name, description)
WHERE p.organization_id = current_setting('app.tenant_id')::uuid
ON CONFLICT (id) DO NOTHING;

INSERT INTO project_members (organization_id, project_id, user_id)
SELECT m.organization_id, m.project_id, m.user_id
FROM (VALUES
    ('01900000-0000-7000-8000-000000000a00'::uuid, '01900000-0000-7000-8000-000000000a31'::uuid,
     '01900000-0000-7000-8000-000000000a21'::uuid),
    ('01900000-0000-7000-8000-000000000a00', '01900000-0000-7000-8000-000000000a31', '01900000-0000-7000-8000-000000000a22'),
    ('01900000-0000-7000-8000-000000000b00', '01900000-0000-7000-8000-000000000b31', '01900000-0000-7000-8000-000000000b21')
) AS m (organization_id, project_id, user_id)
WHERE m.organization_id = current_setting('app.tenant_id')::uuid
ON CONFLICT (project_id, user_id) DO NOTHING;

-- No model is named: the agents run on the one the platform is configured for.
INSERT INTO agent_configs
    (id, organization_id, project_id, name, description, agent_type, llm_config, tools_config, system_prompt, is_default)
SELECT a.id, a.organization_id, a.project_id, a.name, a.description, a.agent_type, a.llm_config, a.tools_config,
    a.system_prompt, true
FROM (VALUES
    ('01900000-0000-7000-8000-000000000a41'::uuid, '01900000-0000-7000-8000-000000000a00'::uuid,
     '01900000-0000-7000-8000-000000000a31'::uuid,
     'Document Analyzer', 'Answers questions from the organization''s documents and names the passages it used',
     'document_analyzer', '{"temperature": 0.7, "max_tokens": 2048, "top_p": 0.9}'::jsonb,
     '[{"name": "search_documents", "enabled": true}]'::jsonb,
     'You answer questions from the organization''s documents. Search before you answer, rely only on the passages you find, '
     'mark every statement with the citation mark of its passage, and say so when the documents do not hold the answer.'),
    ('01900000-0000-7000-8000-000000000b41', '01900000-0000-7000-8000-000000000b00', '01900000-0000-7000-8000-000000000b31',
     'Chat Support Agent', 'Helps customers in a friendly tone, from the help pages',
     'chat_agent', '{"temperature": 0.5, "max_tokens": 1024}',
     '[{"name": "search_documents", "enabled": true}]',
     'You help customers. Be friendly and brief, search the documents for the facts, and cite the passages you rely on.')
) AS a (id, organization_id, project_id, name, description, agent_type, llm_config, tools_config, system_prompt)
WHERE a.organization_id = current_setting('app.tenant_id')::uuid
ON CONFLICT (id) DO NOTHING;
