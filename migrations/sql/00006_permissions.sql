-- The permissions that ship with the service. They belong to no organization. pkg/access names the same ones for programs;
-- a test holds the two together.
--
-- A bare action reaches what the caller owns or is a member of where the resource has such a notion; _project and _all
-- widen that reach to the caller's projects and to the whole organization.

-- +goose Up
INSERT INTO permissions (name, resource, action, description, is_system)
SELECT resource || ':' || action, resource, action, description, true
FROM (VALUES
    ('users', 'create', 'Add people to the organization'),
    ('users', 'read', 'See the people of the organization'),
    ('users', 'update', 'Change people, their role and whether they may log in'),
    ('users', 'delete', 'Deactivate people'),
    ('organization', 'read', 'See the organization''s record and settings'),
    ('organization', 'update', 'Change the organization''s record and settings'),
    ('projects', 'create', 'Start projects'),
    ('projects', 'read', 'See the projects one is a member of'),
    ('projects', 'read_all', 'See every project'),
    ('projects', 'update', 'Change projects'),
    ('projects', 'delete', 'Close projects'),
    ('projects', 'members', 'Add and remove members of projects'),
    ('agents', 'create', 'Configure new agents'),
    ('agents', 'read', 'See agents and their types'),
    ('agents', 'execute', 'Run agents'),
    ('agents', 'manage', 'Change, activate and remove agents'),
    ('conversations', 'create', 'Start conversations and write in one''s own'),
    ('conversations', 'read', 'Read one''s own conversations'),
    ('conversations', 'read_project', 'Read the conversations of one''s projects'),
    ('conversations', 'read_all', 'Read every conversation'),
    ('conversations', 'update', 'Change and archive one''s own conversations'),
    ('conversations', 'delete', 'Delete one''s own conversations'),
    ('documents', 'upload', 'Add documents'),
    ('documents', 'read', 'Read public documents and those of one''s projects'),
    ('documents', 'read_all', 'Read every document'),
    ('documents', 'search', 'Search the documents one may read'),
    ('documents', 'update', 'Change and index documents again'),
    ('documents', 'delete', 'Delete documents'),
    ('embeddings', 'create', 'Compute embeddings'),
    ('jobs', 'read', 'Follow one''s own jobs'),
    ('jobs', 'read_project', 'Follow the jobs of one''s projects'),
    ('jobs', 'read_all', 'Follow every job'),
    ('jobs', 'cancel', 'Cancel the jobs one may follow'),
    ('jobs', 'redrive', 'Retry failed jobs'),
    ('roles', 'manage', 'Define roles and what they may do'),
    ('api_keys', 'manage', 'See and revoke the API keys of others'),
    ('webhooks', 'manage', 'Configure webhooks'),
    ('budgets', 'manage', 'Set budgets'),
    ('secrets', 'manage', 'Store secrets for tools'),
    ('audit', 'read', 'Read the audit log'),
    ('usage', 'read', 'Read usage and its cost')
) AS shipped (resource, action, description);

-- +goose Down
DELETE FROM permissions WHERE is_system;
