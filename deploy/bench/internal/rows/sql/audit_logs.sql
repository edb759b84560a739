INSERT INTO audit_logs (organization_id, seq, id, actor_id, action, resource_type, resource_id, after, ip, user_agent, request_id,
    created_at, hash)
SELECT d.tenant, coalesce(h.seq, 0) + row_number() OVER (PARTITION BY d.tenant ORDER BY d.n), loading.id('audit', d.n), d.person,
    (ARRAY['document.create', 'document.update', 'conversation.create', 'agent_config.update', 'user.update'])[1 + d.pick % 5],
    (ARRAY['document', 'document', 'conversation', 'agent_config', 'user'])[1 + d.pick % 5], loading.id('document', d.n),
    json_build_object('title', 'Document ' || d.n, 'description', s.text), '192.0.2.' || d.pick % 250, 'measured/1.0', 'request-' || d.n,
    d.at, sha256(convert_to(d.n::text, 'UTF8'))
FROM loading.numbered d JOIN loading.sentences s ON s.n = d.n % 997 LEFT JOIN audit_heads h ON h.organization_id = d.tenant;
INSERT INTO audit_heads (organization_id, seq, hash)
SELECT DISTINCT ON (organization_id) organization_id, seq, hash FROM audit_logs ORDER BY organization_id, seq DESC
ON CONFLICT (organization_id) DO UPDATE SET seq = EXCLUDED.seq, hash = EXCLUDED.hash;
