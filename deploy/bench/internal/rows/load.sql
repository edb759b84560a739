-- Fills conversations, messages, documents and audit_logs. The setting bench.rows says how many rows each of them gets. It runs as one
-- transaction.
SET LOCAL synchronous_commit = off;
SET LOCAL maintenance_work_mem = '256MB';
-- The rows fit each other as they are made: no foreign key needs a look, no trigger has anything to say.
SET LOCAL session_replication_role = replica;

-- Indexes that no constraint needs are made anew when the rows are there, which takes a fraction of the time.
CREATE TEMP TABLE later ON COMMIT DROP AS
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i
WHERE i.indrelid IN (to_regclass('conversations'), to_regclass('messages'), to_regclass('documents'), to_regclass('audit_logs'))
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid);
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT name FROM later LOOP
        EXECUTE 'DROP INDEX ' || one.name;
    END LOOP;
END
$$;

-- Row n of all is made in the year before now, and its id, a UUIDv7, at the same moment.
CREATE FUNCTION pg_temp.made(n bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT date_trunc('day', now()) - interval '365 days' * (1 - n / current_setting('bench.rows')::float8)
$$;
CREATE FUNCTION pg_temp.id(kind text, n bigint) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM pg_temp.made(n)) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' ||
        substr(md5(kind || n), 1, 15))::uuid
$$;

-- Sixteenths: the seeded tenant has eight, eight others have one each.
CREATE TEMP TABLE tenants ON COMMIT DROP AS
SELECT n AS sixteenth, pg_temp.id('organization', n) AS id FROM generate_series(8, 15) n
UNION ALL
SELECT n, o.id FROM generate_series(0, 7) n, organizations o WHERE o.domain = 'acme.com';
INSERT INTO organizations (id, name) SELECT id, 'Measured organization ' || sixteenth FROM tenants WHERE sixteenth >= 8;

CREATE TEMP TABLE people ON COMMIT DROP AS
SELECT t.id AS tenant, pg_temp.id('user', n) AS id, n FROM generate_series(1, 198) n JOIN tenants t ON t.sixteenth = n % 16;
INSERT INTO users (id, organization_id, role_id, email, username, password_hash)
SELECT p.id, p.tenant, r.id, 'measured' || n || '@example.com', 'measured_' || n, 'none'
FROM people p LEFT JOIN roles r ON r.organization_id = p.tenant AND r.name = 'Member';
INSERT INTO people SELECT organization_id, id, 0 FROM users WHERE email IN ('admin@acme.com', 'member@acme.com');

CREATE TEMP TABLE plans ON COMMIT DROP AS
SELECT t.id AS tenant, pg_temp.id('project', n) AS id, n FROM generate_series(1, 64) n JOIN tenants t ON t.sixteenth = n % 16;
INSERT INTO projects (id, organization_id, name) SELECT id, tenant, 'Measured project ' || n FROM plans;
-- Everybody is in every fourth project of the tenant, more or less.
INSERT INTO project_members (organization_id, project_id, user_id)
SELECT p.tenant, p.id, u.id FROM plans p JOIN people u ON u.tenant = p.tenant WHERE (p.n / 16 + u.n) % 4 = 0;

CREATE TEMP TABLE helpers ON COMMIT DROP AS
SELECT t.id AS tenant, pg_temp.id('agent', n) AS id, n FROM generate_series(1, 64) n JOIN tenants t ON t.sixteenth = n % 16;
INSERT INTO agent_configs (id, organization_id, name) SELECT id, tenant, 'Measured agent ' || n FROM helpers;

-- What belongs to a tenant, numbered, so that row n can pick some of it. Whoever picks takes the remainder of n / 16.
CREATE TEMP TABLE pick_user ON COMMIT DROP AS
SELECT t.sixteenth, row_number() OVER (PARTITION BY t.sixteenth ORDER BY u.n, u.id) - 1 AS pick, u.id
FROM people u JOIN tenants t ON t.id = u.tenant;
CREATE TEMP TABLE pick_project ON COMMIT DROP AS
SELECT t.sixteenth, row_number() OVER (PARTITION BY t.sixteenth ORDER BY p.n) - 1 AS pick, p.id
FROM plans p JOIN tenants t ON t.id = p.tenant;
CREATE TEMP TABLE pick_agent ON COMMIT DROP AS
SELECT t.sixteenth, row_number() OVER (PARTITION BY t.sixteenth ORDER BY a.n) - 1 AS pick, a.id
FROM helpers a JOIN tenants t ON t.id = a.tenant;
CREATE TEMP TABLE picks ON COMMIT DROP AS
SELECT t.sixteenth, t.id AS tenant, (SELECT count(*) FROM pick_user u WHERE u.sixteenth = t.sixteenth) AS users,
    (SELECT count(*) FROM pick_project p WHERE p.sixteenth = t.sixteenth) AS projects,
    (SELECT count(*) FROM pick_agent a WHERE a.sixteenth = t.sixteenth) AS agents
FROM tenants t;

-- Sentences to put texts together from: one in ten has the word contract, none has zeppelin.
CREATE TEMP TABLE sentences ON COMMIT DROP AS
SELECT n, string_agg((ARRAY['policy', 'invoice', 'travel', 'review', 'budget', 'supplier', 'deadline', 'region', 'quarter', 'report',
    'customer', 'meeting', 'delivery', 'warranty', 'notice', 'payment', 'holiday', 'training', 'licence', 'network', 'storage',
    'backup', 'incident', 'release', 'roadmap', 'hiring', 'salary', 'expense', 'taxi', 'hotel', 'flight', 'visa', 'insurance', 'audit',
    'privacy', 'consent', 'archive', 'retention', 'approval', 'signature'])[1 + abs(hashint8(n * 100 + w)) % 40], ' ' ORDER BY w)
    || CASE WHEN n % 10 = 0 THEN ' contract' ELSE '' END AS text
FROM generate_series(0, 996) n, generate_series(1, 9) w GROUP BY n;

CREATE TEMP TABLE numbered ON COMMIT DROP AS
SELECT n, n % 16 AS sixteenth, n / 16 AS pick, k.tenant, u.id AS person, p.id AS project, a.id AS agent, pg_temp.made(n) AS at,
    -- Eight rows have a word that no other has; four of them are the seeded tenant's.
    n % greatest(current_setting('bench.rows')::int / 8, 1) = 1 AS rare
FROM generate_series(1, current_setting('bench.rows')::bigint) n
JOIN picks k ON k.sixteenth = n % 16
JOIN pick_user u ON u.sixteenth = n % 16 AND u.pick = (n / 16) % k.users
LEFT JOIN pick_project p ON p.sixteenth = n % 16 AND p.pick = (n / 16) % (2 * k.projects)
JOIN pick_agent a ON a.sixteenth = n % 16 AND a.pick = (n / 16) % k.agents;

INSERT INTO conversations (id, organization_id, user_id, project_id, agent_config_id, title, description, message_count, is_active,
    is_archived, created_at, updated_at)
SELECT pg_temp.id('conversation', d.n), d.tenant, d.person, d.project, d.agent, 'Case ' || d.n || CASE WHEN rare THEN ' zeppelin' ELSE '' END,
    s.text || ' ' || t.text, 20, d.pick % 30 <> 0, d.pick % 10 = 5, d.at, d.at
FROM numbered d JOIN sentences s ON s.n = d.n % 997 JOIN sentences t ON t.n = d.n / 7 % 991;

-- One message in twenty belongs to one long conversation, the others to short ones.
CREATE TEMP TABLE talks ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY n) - 1 AS talk, n, tenant FROM numbered WHERE n <= 1 + current_setting('bench.rows')::bigint / 19;
CREATE TEMP TABLE long_talk ON COMMIT DROP AS
SELECT c.id, c.organization_id FROM conversations c JOIN users u ON u.id = c.user_id
WHERE u.email = 'member@acme.com' AND c.is_active AND NOT c.is_archived ORDER BY c.id LIMIT 1;
INSERT INTO messages (id, organization_id, conversation_id, role, content, tokens_used, processing_time_ms, created_at, updated_at)
SELECT pg_temp.id('message', d.n), CASE WHEN d.n % 20 = 0 THEN l.organization_id ELSE t.tenant END,
    CASE WHEN d.n % 20 = 0 THEN l.id ELSE pg_temp.id('conversation', t.n) END,
    (ARRAY['user', 'assistant'])[1 + (d.n / 20) % 2], r.text || ' ' || s.text, 120, 900, d.at, d.at
FROM numbered d JOIN talks t ON t.talk = d.n / 20 CROSS JOIN long_talk l
JOIN sentences r ON r.n = d.n % 997 JOIN sentences s ON s.n = d.n / 5 % 991;
UPDATE conversations SET message_count = current_setting('bench.rows')::int / 20 WHERE id = (SELECT id FROM long_talk);

INSERT INTO documents (id, organization_id, project_id, created_by, title, description, document_type, file_name, file_path, file_size,
    mime_type, content, summary, chunk_count, page_count, is_indexed, is_active, is_public, processing_status, tags, created_at,
    updated_at)
SELECT pg_temp.id('document', d.n), d.tenant, d.project, d.person,
    'Document ' || d.n || CASE WHEN rare THEN ' zeppelin' ELSE '' END, s.text,
    (ARRAY['policy', 'contract', 'manual', 'report', 'invoice', 'minutes', 'letter', 'plan'])[1 + d.pick % 8],
    'document-' || d.n || '.pdf', 'measured/' || d.n, 100000 + d.n, 'application/pdf', s.text || ' ' || t.text || ' ' || s.text, t.text,
    12, 4, true, d.pick % 30 <> 0, d.pick % 3 = 0, CASE d.pick % 50 WHEN 7 THEN 'failed' WHEN 9 THEN 'pending' ELSE 'completed' END,
    ARRAY['tag-' || d.pick % 11, 'tag-' || 20 + d.pick % 29, 'tag-' || 60 + d.pick % 97], d.at, d.at
FROM numbered d JOIN sentences s ON s.n = d.n % 997 JOIN sentences t ON t.n = d.n / 3 % 991;

DO $$
BEGIN
    IF to_regclass('audit_logs') IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO audit_logs (organization_id, seq, id, actor_id, action, resource_type, resource_id, after, ip, user_agent, request_id,
        created_at, hash)
    SELECT d.tenant, coalesce(h.seq, 0) + row_number() OVER (PARTITION BY d.tenant ORDER BY d.n), pg_temp.id('audit', d.n), d.person,
        (ARRAY['document.create', 'document.update', 'conversation.create', 'agent_config.update', 'user.update'])[1 + d.pick % 5],
        (ARRAY['document', 'document', 'conversation', 'agent_config', 'user'])[1 + d.pick % 5], pg_temp.id('document', d.n),
        json_build_object('title', 'Document ' || d.n, 'description', s.text), '192.0.2.' || d.pick % 250, 'measured/1.0', 'request-' || d.n,
        d.at, sha256(convert_to(d.n::text, 'UTF8'))
    FROM numbered d JOIN sentences s ON s.n = d.n % 997 LEFT JOIN audit_heads h ON h.organization_id = d.tenant;
    INSERT INTO audit_heads (organization_id, seq, hash)
    SELECT DISTINCT ON (organization_id) organization_id, seq, hash FROM audit_logs ORDER BY organization_id, seq DESC
    ON CONFLICT (organization_id) DO UPDATE SET seq = EXCLUDED.seq, hash = EXCLUDED.hash;
END
$$;

DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT definition FROM later LOOP
        EXECUTE one.definition;
    END LOOP;
END
$$;
DROP FUNCTION pg_temp.id(text, bigint);
DROP FUNCTION pg_temp.made(bigint);
