-- Documents may become many: their words are found as 00015 says.

-- +goose Up
DROP INDEX documents_words_idx;
CREATE INDEX documents_words_idx ON documents USING gin (search_terms(organization_id, words)) WITH (gin_pending_list_limit = 256);

-- +goose Down
DROP INDEX documents_words_idx;
CREATE INDEX documents_words_idx ON documents USING gin (organization_id, words) WITH (gin_pending_list_limit = 256);
