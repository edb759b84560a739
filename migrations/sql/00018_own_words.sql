-- Words among one's own conversations: terms with the owner instead of the tenant, so that who is limited to his own gathers no others.

-- +goose Up
CREATE INDEX conversations_user_words_idx ON conversations USING gin (search_terms(user_id, words)) WITH (gin_pending_list_limit = 256);

-- +goose Down
DROP INDEX conversations_user_words_idx;
