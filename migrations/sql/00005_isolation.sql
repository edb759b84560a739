-- Who may touch what. The application role works for one tenant at a time, named by the setting app.tenant_id, which the
-- store sets for the length of a transaction; without it the application sees no tenant row and can write none. The engine
-- role works for all tenants, but sees no tenant's content: jobs, their events and idempotency keys only.

-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO copilot_app, copilot_engine', current_schema());
    -- Tables of later migrations reach the application role by themselves; their migration adds row-level security.
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO copilot_app',
                   current_schema());
END
$$;
-- +goose StatementEnd

GRANT SELECT, INSERT, UPDATE, DELETE ON
    organizations, permissions, roles, role_permissions, users, projects, project_members, refresh_tokens,
    agent_configs, conversations, messages, documents, document_chunks,
    jobs, job_events, run_steps, idempotency_keys
    TO copilot_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON jobs, job_events, idempotency_keys TO copilot_engine;

-- +goose StatementBegin
DO $$
DECLARE
    tenant constant text := $q$ NULLIF(current_setting('app.tenant_id', true), '')::uuid $q$;
    tbl    text;
BEGIN
    ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
    EXECUTE 'CREATE POLICY tenant ON organizations TO copilot_app USING (id =' || tenant || ') WITH CHECK (id =' || tenant || ')';

    FOREACH tbl IN ARRAY ARRAY ['roles', 'users', 'projects', 'project_members', 'refresh_tokens', 'agent_configs',
        'conversations', 'messages', 'documents', 'document_chunks', 'jobs', 'job_events', 'run_steps', 'idempotency_keys'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tbl);
        EXECUTE format('CREATE POLICY tenant ON %I TO copilot_app USING (organization_id = %s) WITH CHECK (organization_id = %s)',
                       tbl, tenant, tenant);
    END LOOP;

    -- What ships with the service is everybody's to read and nobody's to change.
    ALTER TABLE permissions ENABLE ROW LEVEL SECURITY;
    CREATE POLICY shipped ON permissions FOR SELECT TO copilot_app USING (organization_id IS NULL);
    EXECUTE 'CREATE POLICY tenant ON permissions TO copilot_app USING (organization_id =' || tenant || ') '
        'WITH CHECK (organization_id =' || tenant || ')';

    -- A role may only be given permissions that its organization can see: the subquery runs under the policies above.
    ALTER TABLE role_permissions ENABLE ROW LEVEL SECURITY;
    EXECUTE 'CREATE POLICY tenant ON role_permissions TO copilot_app USING (organization_id =' || tenant || ') '
        'WITH CHECK (organization_id =' || tenant || ' AND EXISTS (SELECT FROM permissions p WHERE p.id = permission_id))';

    FOREACH tbl IN ARRAY ARRAY ['jobs', 'job_events', 'idempotency_keys'] LOOP
        EXECUTE format('CREATE POLICY engine ON %I TO copilot_engine USING (true) WITH CHECK (true)', tbl);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Login and refresh meet a caller whose tenant is not known yet. These two functions answer that one question, as the
-- owner of the tables, and nothing else.

-- +goose StatementBegin
CREATE FUNCTION auth_find_user(identifier text) RETURNS TABLE (user_id uuid, organization_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER
AS $$
    SELECT u.id, u.organization_id FROM users u WHERE lower(u.email) = lower(identifier)
    UNION ALL
    SELECT u.id, u.organization_id FROM users u WHERE lower(u.username) = lower(identifier)
    LIMIT 1
$$;

CREATE FUNCTION auth_find_refresh_token(hash bytea) RETURNS TABLE (user_id uuid, organization_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER
AS $$
    SELECT t.user_id, t.organization_id FROM refresh_tokens t WHERE t.token_hash = hash
$$;

DO $$
DECLARE
    fn text;
BEGIN
    FOREACH fn IN ARRAY ARRAY ['auth_find_user(text)', 'auth_find_refresh_token(bytea)'] LOOP
        -- pg_temp last, so that no caller can put a table of his own in front of ours.
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', fn, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', fn);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO copilot_app', fn);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION auth_find_refresh_token(bytea);
DROP FUNCTION auth_find_user(text);

-- +goose StatementBegin
DO $$
DECLARE
    pol record;
    tbl text;
BEGIN
    FOR pol IN SELECT tablename, policyname FROM pg_catalog.pg_policies WHERE schemaname = current_schema() LOOP
        EXECUTE format('DROP POLICY %I ON %I', pol.policyname, pol.tablename);
        EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', pol.tablename);
    END LOOP;
    FOREACH tbl IN ARRAY ARRAY ['organizations', 'permissions', 'roles', 'role_permissions', 'users', 'projects',
        'project_members', 'refresh_tokens', 'agent_configs', 'conversations', 'messages', 'documents', 'document_chunks',
        'jobs', 'job_events', 'run_steps', 'idempotency_keys'] LOOP
        EXECUTE format('REVOKE ALL ON %I FROM copilot_app, copilot_engine', tbl);
    END LOOP;
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I REVOKE ALL ON TABLES FROM copilot_app', current_schema());
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM copilot_app, copilot_engine', current_schema());
END
$$;
-- +goose StatementEnd
