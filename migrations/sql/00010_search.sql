-- Search by words, through indexes. docs/decisions/0010-search-through-views.md says why it needs a view beside the table.
--
-- A table that can be searched has a column of words, an index on it that begins with the tenant, and a view of its rows:
--
--     ALTER TABLE x ADD COLUMN words tsvector GENERATED ALWAYS AS (search_words(name)) STORED;
--     CREATE INDEX x_words_idx ON x USING gin (organization_id, words) WITH (gin_pending_list_limit = 256);
--     SELECT searchable('x');
--
-- A migration that adds a column to such a table later calls searchable again: a view keeps the columns that it was made with. Down
-- says SELECT unsearchable('x') first.

-- +goose Up
CREATE EXTENSION IF NOT EXISTS btree_gin;

-- Positions are left out, because nothing asks for them and they are half of the size. What joins words in addresses, file names
-- and dates parts them, so that each can be found by itself. The length is bounded by what the type can hold.
CREATE FUNCTION search_words(text) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN strip(to_tsvector('simple'::regconfig, translate(left($1, 200000), '@._-/:\', '       ')));
COMMENT ON FUNCTION search_words(text) IS 'The words of a text, in lower case, each once';

-- The second step appends :* to the last word, which makes it a beginning. Shorter ones would begin too much.
CREATE FUNCTION search_query(text) RETURNS tsquery LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN regexp_replace(plainto_tsquery('simple'::regconfig, translate($1, '@._-/:\', '       '))::text,
                          '([^'']{3}'')$', '\1:*')::tsquery;
COMMENT ON FUNCTION search_query(text) IS 'All words of a text; the last one, from three letters on, may be the beginning of a word';

-- Made like the roles of 00001.
-- +goose StatementBegin
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'copilot_search') THEN
        BEGIN
            CREATE ROLE copilot_search NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO copilot_search', current_schema());
END
$$;

-- Whoever hands something over to a role, or takes it back, is a member of it while that lasts, as in 00007.
CREATE FUNCTION searchable(tbl regclass) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    member constant text := CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END;
    joins  constant boolean := NOT pg_has_role('copilot_search', member);
    view   constant text := (SELECT 'searchable_' || relname FROM pg_class WHERE oid = tbl);
BEGIN
    IF joins THEN
        GRANT copilot_search TO CURRENT_USER;
    END IF;
    EXECUTE format('DROP VIEW IF EXISTS %I', view);
    EXECUTE format($q$CREATE VIEW %I AS SELECT * FROM %s
        WHERE organization_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid$q$, view, tbl);
    EXECUTE format('REVOKE ALL ON %I FROM copilot_app', view);
    EXECUTE format('GRANT SELECT ON %I TO copilot_app', view);
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO copilot_search', current_schema());
    EXECUTE format('ALTER VIEW %I OWNER TO copilot_search', view);
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM copilot_search', current_schema());
    IF joins THEN
        REVOKE copilot_search FROM CURRENT_USER;
    END IF;
    EXECUTE format('GRANT SELECT ON %s TO copilot_search', tbl);
    EXECUTE format('DROP POLICY IF EXISTS search ON %s', tbl);
    EXECUTE format('CREATE POLICY search ON %s FOR SELECT TO copilot_search USING (true)', tbl);
END
$$;

CREATE FUNCTION unsearchable(tbl regclass) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    joins constant boolean := NOT pg_has_role('copilot_search', 'USAGE');
BEGIN
    IF joins THEN
        GRANT copilot_search TO CURRENT_USER;
    END IF;
    EXECUTE format('DROP VIEW %I', (SELECT 'searchable_' || relname FROM pg_class WHERE oid = tbl));
    IF joins THEN
        REVOKE copilot_search FROM CURRENT_USER;
    END IF;
    EXECUTE format('DROP POLICY search ON %s', tbl);
    EXECUTE format('REVOKE SELECT ON %s FROM copilot_search', tbl);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION searchable(regclass) IS 'For migrations: makes or renews the view through which a table is searched';
COMMENT ON FUNCTION unsearchable(regclass) IS 'For migrations: takes back what searchable did';
REVOKE ALL ON FUNCTION searchable(regclass), unsearchable(regclass) FROM PUBLIC;

-- +goose Down
DROP FUNCTION unsearchable(regclass);
DROP FUNCTION searchable(regclass);
DROP FUNCTION search_query(text);
DROP FUNCTION search_words(text);
DROP EXTENSION btree_gin;
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM copilot_search', current_schema());
END
$$;
-- +goose StatementEnd
