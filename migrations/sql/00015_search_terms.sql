-- The index of words holds each word together with its tenant. As a column beside the words, the tenant is one long list of rows
-- in which every row with the word is looked up: 3 us each, where reading on takes 0.1 us.
--
-- A table that may become long has, instead of what 00010 says,
--
--     ALTER TABLE x ADD COLUMN words tsvector GENERATED ALWAYS AS (search_words(name)) STORED;
--     CREATE INDEX x_words_idx ON x USING gin (search_terms(organization_id, words)) WITH (gin_pending_list_limit = 256);
--     SELECT searchable('x');

-- +goose Up
-- The end of an id is what tells ids of the same time apart. Should two tenants share it, the condition on the tenant is still there.
-- What is too long to be a term with it is no word either.
CREATE FUNCTION search_terms(tenant uuid, words tsvector) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN array_to_tsvector(ARRAY(
        SELECT right(tenant::text, 12) || word FROM unnest(tsvector_to_array(words)) AS word WHERE octet_length(word) < 1000));
COMMENT ON FUNCTION search_terms(uuid, tsvector) IS 'Words as they are in the index, with their tenant';

CREATE FUNCTION search_query(tenant uuid, text) RETURNS tsquery LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN regexp_replace(search_query($2)::text, '''([^'']+)''', '''' || right(tenant::text, 12) || '\1''', 'g')::tsquery;
COMMENT ON FUNCTION search_query(uuid, text) IS 'The same as search_query(text), for terms';

DROP INDEX conversations_words_idx;
DROP INDEX messages_words_idx;
CREATE INDEX conversations_words_idx ON conversations USING gin (search_terms(organization_id, words))
    WITH (gin_pending_list_limit = 256);
CREATE INDEX messages_words_idx ON messages USING gin (search_terms(organization_id, words)) WITH (gin_pending_list_limit = 256);

-- +goose Down
DROP INDEX conversations_words_idx;
DROP INDEX messages_words_idx;
CREATE INDEX conversations_words_idx ON conversations USING gin (organization_id, user_id, words)
    WITH (gin_pending_list_limit = 256);
CREATE INDEX messages_words_idx ON messages USING gin (organization_id, words) WITH (gin_pending_list_limit = 256);
DROP FUNCTION search_query(uuid, text);
DROP FUNCTION search_terms(uuid, tsvector);
