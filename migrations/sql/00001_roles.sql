-- The two database roles beside the owner. Roles belong to the whole server, not to one database: another database of the
-- same server may be creating them at this very moment, so losing that race is success. They get LOGIN and a password
-- from whoever runs the server, never from here.

-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY ['copilot_app', 'copilot_engine'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', wanted);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- The roles stay: other databases of this server may still grant to them.
SELECT 1;
