-- Tags stand in their index together with their tenant, as words do since 00015. With the tenant as a column, the planner had the index
-- name all documents of a tenant, only to meet them with those that a search for a rare word had found: half a million to find three.

-- +goose Up
CREATE FUNCTION tag_terms(tenant uuid, tags text[]) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ARRAY(SELECT right(tenant::text, 12) || tag FROM unnest(tags) AS tag);
COMMENT ON FUNCTION tag_terms(uuid, text[]) IS 'Tags as they are in the index, with their tenant';

CREATE INDEX documents_tag_terms_idx ON documents USING gin (tag_terms(organization_id, tags)) WITH (gin_pending_list_limit = 256);
DROP INDEX documents_tenant_tags_idx;

-- +goose Down
CREATE INDEX documents_tenant_tags_idx ON documents USING gin (organization_id, tags) WITH (gin_pending_list_limit = 256);
DROP INDEX documents_tag_terms_idx;
DROP FUNCTION tag_terms(uuid, text[]);
