-- A document can be indexed again while searches go on: its passages belong to an indexing, and the document says which one is
-- searched. The id of zeros stands for whatever was indexed before indexings had ids, and for none.

-- +goose Up
ALTER TABLE documents
    ADD COLUMN indexing_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    -- The indexing that is under way, and the text that becomes the content with it.
    ADD COLUMN draft_id    uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ADD COLUMN draft       text NOT NULL DEFAULT '';

ALTER TABLE document_chunks
    ADD COLUMN indexing_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    DROP CONSTRAINT document_chunks_chunk_index_key,
    ADD CONSTRAINT document_chunks_chunk_index_key UNIQUE (document_id, indexing_id, chunk_index);

-- Two ingests of one document at once would take turns in spoiling each other's draft.
CREATE UNIQUE INDEX jobs_one_ingest_key ON jobs (organization_id, document_id)
    WHERE kind = 'document.ingest' AND status IN ('queued', 'running', 'waiting');

-- +goose Down
DROP INDEX jobs_one_ingest_key;
-- Passages that are not searched would meet those that are.
ALTER TABLE documents NO FORCE ROW LEVEL SECURITY;
ALTER TABLE document_chunks NO FORCE ROW LEVEL SECURITY;
DELETE FROM document_chunks c USING documents d WHERE d.id = c.document_id AND d.indexing_id <> c.indexing_id;
ALTER TABLE document_chunks FORCE ROW LEVEL SECURITY;
ALTER TABLE documents FORCE ROW LEVEL SECURITY;
ALTER TABLE document_chunks
    DROP CONSTRAINT document_chunks_chunk_index_key,
    ADD CONSTRAINT document_chunks_chunk_index_key UNIQUE (document_id, chunk_index),
    DROP COLUMN indexing_id;
ALTER TABLE documents
    DROP COLUMN draft,
    DROP COLUMN draft_id,
    DROP COLUMN indexing_id;
