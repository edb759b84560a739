INSERT INTO conversations (id, organization_id, user_id, project_id, agent_config_id, title, description, message_count, is_active,
    is_archived, created_at, updated_at)
SELECT loading.id('conversation', d.n), d.tenant, d.person, d.project, d.agent,
    'Case ' || d.n || CASE WHEN rare THEN ' zeppelin' ELSE '' END, s.text || ' ' || t.text,
    CASE d.n WHEN l.n THEN current_setting('bench.rows')::int / 20 ELSE 20 END, d.pick % 30 <> 0, d.pick % 10 = 5, d.at, d.at
FROM loading.numbered d CROSS JOIN loading.long_talk l JOIN loading.sentences s ON s.n = d.n % 997 JOIN loading.sentences t ON t.n = d.n / 7 % 991;
