-- A parent that is deleted before its children is a mistake. It took them along, but not their events, which have had no foreign key
-- since 00025 and stayed for ever. Now it is refused; a statement that deletes all of them at once is not.

-- +goose Up
ALTER TABLE jobs DROP CONSTRAINT jobs_organization_id_parent_id_fkey;
ALTER TABLE jobs ADD CONSTRAINT jobs_organization_id_parent_id_fkey
    FOREIGN KEY (organization_id, parent_id) REFERENCES jobs (organization_id, id);

-- +goose Down
ALTER TABLE jobs DROP CONSTRAINT jobs_organization_id_parent_id_fkey;
ALTER TABLE jobs ADD CONSTRAINT jobs_organization_id_parent_id_fkey
    FOREIGN KEY (organization_id, parent_id) REFERENCES jobs (organization_id, id) ON DELETE CASCADE;
