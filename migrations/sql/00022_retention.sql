-- What has ended is deleted after a while. The engine deletes the journals of jobs, too, and sees no more of them than whose they are.

-- +goose Up
GRANT DELETE, SELECT (job_id) ON run_steps TO copilot_engine;
CREATE POLICY engine ON run_steps TO copilot_engine USING (true) WITH CHECK (false);

-- +goose Down
DROP POLICY engine ON run_steps;
REVOKE DELETE, SELECT (job_id) ON run_steps FROM copilot_engine;
