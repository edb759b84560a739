-- Row-level security that nobody steps around. Until here it bound the application role, and the owner of the tables was
-- exempt: an application that was given the owner's URL by mistake saw every tenant. From here on it is forced, and a tenant's
-- policy binds every role that has none of its own. A superuser or a role with BYPASSRLS is still free: that is for backups.
--
-- For migrations after this one it means: the owner sees no tenant's rows either. One that moves rows lifts the force from its
-- table and puts it back (ALTER TABLE x NO FORCE ROW LEVEL SECURITY ... FORCE ROW LEVEL SECURITY), inside its transaction.

-- +goose Up
-- What login and refresh ask before a tenant is known needs a role that sees all tenants. It gets one of its own, which
-- reads the few columns of that one question, and nobody logs in as it. Made like the roles of 00001.
-- +goose StatementBegin
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'copilot_auth') THEN
        BEGIN
            CREATE ROLE copilot_auth NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
END
$$;
-- +goose StatementEnd

GRANT SELECT (id, organization_id, email, username) ON users TO copilot_auth;
GRANT SELECT (user_id, organization_id, token_hash) ON refresh_tokens TO copilot_auth;
CREATE POLICY auth ON users FOR SELECT TO copilot_auth USING (true);
CREATE POLICY auth ON refresh_tokens FOR SELECT TO copilot_auth USING (true);

-- +goose StatementBegin
DO $$
DECLARE
    member constant text := CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END;
    joins  constant boolean := NOT pg_has_role('copilot_auth', member);
    fn     text;
BEGIN
    -- Only a member of a role can hand something over to it, and only to a role that may create things in the schema. Both
    -- end with the handing over: a member falls under the policies of its role, and the owner is to be bound.
    IF joins THEN
        GRANT copilot_auth TO CURRENT_USER;
    END IF;
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO copilot_auth', current_schema());
    FOREACH fn IN ARRAY ARRAY ['auth_find_user(text)', 'auth_find_refresh_token(bytea)'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO copilot_auth', fn);
    END LOOP;
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM copilot_auth', current_schema());
    IF joins THEN
        REVOKE copilot_auth FROM CURRENT_USER;
    END IF;
END
$$;

DO $$
DECLARE
    tbl name;
BEGIN
    FOR tbl IN SELECT tablename FROM pg_catalog.pg_policies WHERE schemaname = current_schema() AND policyname = 'tenant' LOOP
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tbl);
        EXECUTE format('ALTER POLICY tenant ON %I TO PUBLIC', tbl);
    END LOOP;
END
$$;
-- +goose StatementEnd
ALTER POLICY shipped ON permissions TO PUBLIC;

-- The platform's superuser lists all organizations. Seeing is all this is for: whoever changes one enters it.
CREATE POLICY platform ON organizations FOR SELECT TO copilot_app USING (current_setting('app.platform', true) = 'on');

-- Every migration that adds a table of tenants' rows says SELECT isolate('the_table') right after it.
-- +goose StatementBegin
CREATE FUNCTION isolate(tbl regclass) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    own constant text := $q$organization_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid$q$;
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tbl);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tbl);
    EXECUTE format('CREATE POLICY tenant ON %s USING (%s) WITH CHECK (%s)', tbl, own, own);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO copilot_app', tbl);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION isolate(regclass) IS 'For migrations: puts a table of tenants'' rows behind forced row-level security';
REVOKE ALL ON FUNCTION isolate(regclass) FROM PUBLIC;

-- +goose Down
-- The role stays, as those of 00001 do.
DROP FUNCTION isolate(regclass);
DROP POLICY platform ON organizations;
ALTER POLICY shipped ON permissions TO copilot_app;

-- +goose StatementBegin
DO $$
DECLARE
    tbl name;
BEGIN
    FOR tbl IN SELECT tablename FROM pg_catalog.pg_policies WHERE schemaname = current_schema() AND policyname = 'tenant' LOOP
        EXECUTE format('ALTER POLICY tenant ON %I TO copilot_app', tbl);
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', tbl);
    END LOOP;
END
$$;

DO $$
DECLARE
    joins constant boolean := NOT pg_has_role('copilot_auth', 'USAGE');
    fn    text;
BEGIN
    IF joins THEN
        GRANT copilot_auth TO CURRENT_USER;
    END IF;
    FOREACH fn IN ARRAY ARRAY ['auth_find_user(text)', 'auth_find_refresh_token(bytea)'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO CURRENT_USER', fn);
    END LOOP;
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM copilot_auth', current_schema());
    IF joins THEN
        REVOKE copilot_auth FROM CURRENT_USER;
    END IF;
END
$$;
-- +goose StatementEnd

DROP POLICY auth ON refresh_tokens;
DROP POLICY auth ON users;
REVOKE SELECT (user_id, organization_id, token_hash) ON refresh_tokens FROM copilot_auth;
REVOKE SELECT (id, organization_id, email, username) ON users FROM copilot_auth;
