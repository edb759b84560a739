-- What running an organization's people needs: finding them by words, lists in their orders, and the one question about a person
-- that only the platform's superuser asks.

-- +goose Up
ALTER TABLE users ADD COLUMN words tsvector
    GENERATED ALWAYS AS (search_words(username || ' ' || email || ' ' || full_name)) STORED;
CREATE INDEX users_words_idx ON users USING gin (organization_id, words) WITH (gin_pending_list_limit = 256);
SELECT searchable('users');
CREATE INDEX users_by_username_idx ON users (organization_id, username, id);
CREATE INDEX users_by_email_idx ON users (organization_id, email, id);
CREATE INDEX users_by_full_name_idx ON users (organization_id, full_name, id);
CREATE INDEX users_by_created_at_idx ON users (organization_id, created_at, id);

-- A person belongs to one organization. Who tries to add somebody to a second one is told so; whose the person is stays unsaid.
-- +goose StatementBegin
CREATE FUNCTION auth_find_account(account uuid) RETURNS TABLE (user_id uuid, organization_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER
AS $$
    SELECT u.id, u.organization_id FROM users u WHERE u.id = account
$$;

DO $$
DECLARE
    member constant text := CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END;
    joins  constant boolean := NOT pg_has_role('copilot_auth', member);
BEGIN
    EXECUTE format('ALTER FUNCTION auth_find_account(uuid) SET search_path = pg_catalog, %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION auth_find_account(uuid) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION auth_find_account(uuid) TO copilot_app;
    -- Handed over as in 00007, which says why.
    IF joins THEN
        GRANT copilot_auth TO CURRENT_USER;
    END IF;
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO copilot_auth', current_schema());
    ALTER FUNCTION auth_find_account(uuid) OWNER TO copilot_auth;
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM copilot_auth', current_schema());
    IF joins THEN
        REVOKE copilot_auth FROM CURRENT_USER;
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$
DECLARE
    joins constant boolean := NOT pg_has_role('copilot_auth', 'USAGE');
BEGIN
    IF joins THEN
        GRANT copilot_auth TO CURRENT_USER;
    END IF;
    DROP FUNCTION auth_find_account(uuid);
    IF joins THEN
        REVOKE copilot_auth FROM CURRENT_USER;
    END IF;
END
$$;
-- +goose StatementEnd
DROP INDEX users_by_created_at_idx;
DROP INDEX users_by_full_name_idx;
DROP INDEX users_by_email_idx;
DROP INDEX users_by_username_idx;
SELECT unsearchable('users');
ALTER TABLE users DROP COLUMN words;
