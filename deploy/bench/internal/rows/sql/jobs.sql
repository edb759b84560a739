INSERT INTO jobs (id, organization_id, kind, class, status, waiting_on, input, result, attempt, last_seq, lease_epoch,
    dead, error_code, error_message, created_at, updated_at, run_at, started_at, finished_at)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' ||
        substr(md5(status || n), 1, 15))::uuid,
    tenant, 'embedding.create', (ARRAY['interactive', 'bulk'])[1 + n % 2], status, waiting_on,
    '{"text": "The quick brown fox jumps over the lazy dog."}', CASE status WHEN 'succeeded' THEN '{"chunks": 1}'::jsonb END,
    ended::int, 1 + 2 * ended::int, ended::int, status = 'failed', CASE status WHEN 'failed' THEN 'provider.failed' END,
    CASE status WHEN 'failed' THEN 'The provider failed.' END, at, at, at, CASE WHEN ended THEN at END, CASE WHEN ended THEN at END
FROM (
    SELECT i AS n, current_setting('bench.state') = 'ended' AS ended, t.id AS tenant,
        CASE WHEN current_setting('bench.state') = 'queued' THEN 'queued' WHEN i % 50 = 7 THEN 'failed' WHEN i % 50 = 9 THEN 'cancelled'
            ELSE 'succeeded' END AS status,
        CASE WHEN current_setting('bench.state') = 'queued' THEN 'fairness' ELSE '' END AS waiting_on,
        now() - interval '365 days' * (1 - i / current_setting('bench.rows')::float8) - interval '1 second' AS at
    FROM generate_series(current_setting('bench.from')::bigint, current_setting('bench.to')::bigint) i
    JOIN loading_tenants t ON t.n = CASE WHEN current_setting('bench.state') = 'queued' THEN i % (SELECT count(*) FROM loading_tenants)
        -- Half of what has ended is the seeded organization's.
        ELSE greatest(0, i % (2 * (SELECT count(*) FROM loading_tenants)) - (SELECT count(*) FROM loading_tenants)) END
) j
