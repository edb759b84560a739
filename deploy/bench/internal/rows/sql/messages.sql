INSERT INTO messages (id, organization_id, conversation_id, role, content, tokens_used, processing_time_ms, created_at, updated_at)
SELECT loading.id('message', d.n), CASE WHEN d.n % 20 = 0 THEN l.tenant ELSE t.tenant END,
    CASE WHEN d.n % 20 = 0 THEN l.id ELSE t.id END, (ARRAY['user', 'assistant'])[1 + (d.n / 20) % 2], r.text || ' ' || s.text, 120, 900,
    d.at, d.at
FROM loading.numbered d JOIN loading.talks t ON t.talk = d.n / 20 CROSS JOIN loading.long_talk l
JOIN loading.sentences r ON r.n = d.n % 997 JOIN loading.sentences s ON s.n = d.n / 5 % 991;
