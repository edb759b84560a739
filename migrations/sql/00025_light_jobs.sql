-- What every job and every event of it paid for, and nobody used. docs/decisions say why nothing is lost with it.

-- +goose Up
-- Whoever writes events holds the lock of their job's row, in the same transaction; and who deletes jobs deletes their events first.
ALTER TABLE job_events DROP CONSTRAINT job_events_organization_id_job_id_fkey;
-- Organizations are deactivated, not deleted: every submit would lock their row for nothing, as with users and projects.
ALTER TABLE jobs DROP CONSTRAINT jobs_organization_id_fkey;

-- The service's own jobs are nobody's.
DROP INDEX jobs_created_by_idx;
CREATE INDEX jobs_created_by_idx ON jobs (created_by, id) WHERE created_by IS NOT NULL;

-- +goose Down
DROP INDEX jobs_created_by_idx;
CREATE INDEX jobs_created_by_idx ON jobs (created_by, id);
ALTER TABLE jobs ADD CONSTRAINT jobs_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id);
ALTER TABLE job_events ADD CONSTRAINT job_events_organization_id_job_id_fkey
    FOREIGN KEY (organization_id, job_id) REFERENCES jobs (organization_id, id) ON DELETE CASCADE;
