-- What rows are made of: tenants, people, projects, agents and words, and for each row what belongs to it. The setting bench.rows
-- says how many rows each of the large tables is to get.
CREATE SCHEMA loading;

-- Row n of all is made in the year before now, and its id, a UUIDv7, at the same moment.
CREATE FUNCTION loading.made(n bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT date_trunc('day', now()) - interval '365 days' * (1 - n / current_setting('bench.rows')::float8)
$$;
CREATE FUNCTION loading.id(kind text, n bigint) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM loading.made(n)) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' ||
        substr(md5(kind || n), 1, 15))::uuid
$$;

-- Sixteenths: the seeded tenant has eight, eight others have one each.
CREATE UNLOGGED TABLE loading.tenants AS
SELECT n AS sixteenth, loading.id('organization', n) AS id FROM generate_series(8, 15) n
UNION ALL
SELECT n, o.id FROM generate_series(0, 7) n, organizations o WHERE o.domain = 'acme.com';
INSERT INTO organizations (id, name) SELECT id, 'Measured organization ' || sixteenth FROM loading.tenants WHERE sixteenth >= 8;

CREATE UNLOGGED TABLE loading.people AS
SELECT t.id AS tenant, loading.id('user', n) AS id, n FROM generate_series(1, 198) n JOIN loading.tenants t ON t.sixteenth = n % 16;
INSERT INTO users (id, organization_id, role_id, email, username, password_hash)
SELECT p.id, p.tenant, r.id, 'measured' || n || '@example.com', 'measured_' || n, 'none'
FROM loading.people p LEFT JOIN roles r ON r.organization_id = p.tenant AND r.name = 'Member';
INSERT INTO loading.people
SELECT organization_id, id, CASE email WHEN 'member@acme.com' THEN 0 ELSE -1 END FROM users
WHERE email IN ('admin@acme.com', 'member@acme.com');

CREATE UNLOGGED TABLE loading.plans AS
SELECT t.id AS tenant, loading.id('project', n) AS id, n FROM generate_series(1, 64) n JOIN loading.tenants t ON t.sixteenth = n % 16;
INSERT INTO projects (id, organization_id, name) SELECT id, tenant, 'Measured project ' || n FROM loading.plans;
-- Everybody is in every fourth project of the tenant, more or less.
INSERT INTO project_members (organization_id, project_id, user_id)
SELECT p.tenant, p.id, u.id FROM loading.plans p JOIN loading.people u ON u.tenant = p.tenant WHERE (p.n / 16 + u.n) % 4 = 0;

CREATE UNLOGGED TABLE loading.helpers AS
SELECT t.id AS tenant, loading.id('agent', n) AS id, n FROM generate_series(1, 64) n JOIN loading.tenants t ON t.sixteenth = n % 16;
INSERT INTO agent_configs (id, organization_id, name) SELECT id, tenant, 'Measured agent ' || n FROM loading.helpers;

-- What belongs to a tenant, numbered, so that row n can pick some of it. Whoever picks takes the remainder of n / 16.
CREATE UNLOGGED TABLE loading.pick_user AS
SELECT t.sixteenth, row_number() OVER (PARTITION BY t.sixteenth ORDER BY u.n, u.id) - 1 AS pick, u.id
FROM loading.people u JOIN loading.tenants t ON t.id = u.tenant;
CREATE UNLOGGED TABLE loading.pick_project AS
SELECT t.sixteenth, row_number() OVER (PARTITION BY t.sixteenth ORDER BY p.n) - 1 AS pick, p.id
FROM loading.plans p JOIN loading.tenants t ON t.id = p.tenant;
CREATE UNLOGGED TABLE loading.pick_agent AS
SELECT t.sixteenth, row_number() OVER (PARTITION BY t.sixteenth ORDER BY a.n) - 1 AS pick, a.id
FROM loading.helpers a JOIN loading.tenants t ON t.id = a.tenant;
CREATE UNLOGGED TABLE loading.picks AS
SELECT t.sixteenth, t.id AS tenant, (SELECT count(*) FROM loading.pick_user u WHERE u.sixteenth = t.sixteenth) AS users,
    (SELECT count(*) FROM loading.pick_project p WHERE p.sixteenth = t.sixteenth) AS projects,
    (SELECT count(*) FROM loading.pick_agent a WHERE a.sixteenth = t.sixteenth) AS agents
FROM loading.tenants t;

-- Sentences to put texts together from: one in ten has the word contract, none has zeppelin.
CREATE UNLOGGED TABLE loading.sentences AS
SELECT n, string_agg((ARRAY['policy', 'invoice', 'travel', 'review', 'budget', 'supplier', 'deadline', 'region', 'quarter', 'report',
    'customer', 'meeting', 'delivery', 'warranty', 'notice', 'payment', 'holiday', 'training', 'licence', 'network', 'storage',
    'backup', 'incident', 'release', 'roadmap', 'hiring', 'salary', 'expense', 'taxi', 'hotel', 'flight', 'visa', 'insurance', 'audit',
    'privacy', 'consent', 'archive', 'retention', 'approval', 'signature'])[1 + abs(hashint8(n * 100 + w)) % 40], ' ' ORDER BY w)
    || CASE WHEN n % 10 = 0 THEN ' contract' ELSE '' END AS text
FROM generate_series(0, 996) n, generate_series(1, 9) w GROUP BY n;

CREATE UNLOGGED TABLE loading.numbered AS
SELECT n, n % 16 AS sixteenth, n / 16 AS pick, k.tenant, u.id AS person, p.id AS project, a.id AS agent, loading.made(n) AS at,
    -- Eight rows have a word that no other has; four of them are the seeded tenant's.
    n % greatest(current_setting('bench.rows')::int / 8, 1) = 1 AS rare
FROM generate_series(1, current_setting('bench.rows')::bigint) n
JOIN loading.picks k ON k.sixteenth = n % 16
JOIN loading.pick_user u ON u.sixteenth = n % 16 AND u.pick = (n / 16) % k.users
LEFT JOIN loading.pick_project p ON p.sixteenth = n % 16 AND p.pick = (n / 16) % (2 * k.projects)
JOIN loading.pick_agent a ON a.sixteenth = n % 16 AND a.pick = (n / 16) % k.agents;

-- One message in twenty belongs to one long conversation, which is the seeded Member's, the others to short ones.
CREATE UNLOGGED TABLE loading.long_talk AS
SELECT n, loading.id('conversation', n) AS id, d.tenant
FROM loading.numbered d JOIN users u ON u.id = d.person AND u.email = 'member@acme.com'
WHERE pick % 30 <> 0 AND pick % 10 <> 5 ORDER BY n LIMIT 1;
CREATE UNLOGGED TABLE loading.talks AS
SELECT n - 1 AS talk, loading.id('conversation', n) AS id, tenant
FROM loading.numbered WHERE n <= 1 + current_setting('bench.rows')::bigint / 19;

ANALYZE loading.numbered, loading.sentences, loading.talks;
