INSERT INTO documents (id, organization_id, project_id, created_by, title, description, document_type, file_name, file_path, file_size,
    mime_type, content, summary, chunk_count, page_count, is_indexed, is_active, is_public, processing_status, tags, created_at,
    updated_at)
SELECT loading.id('document', d.n), d.tenant, d.project, d.person,
    'Document ' || d.n || CASE WHEN rare THEN ' zeppelin' ELSE '' END, s.text,
    (ARRAY['policy', 'contract', 'manual', 'report', 'invoice', 'minutes', 'letter', 'plan'])[1 + d.pick % 8],
    'document-' || d.n || '.pdf', 'measured/' || d.n, 100000 + d.n, 'application/pdf', s.text || ' ' || t.text || ' ' || s.text, t.text,
    12, 4, true, d.pick % 30 <> 0, d.pick % 3 = 0, CASE d.pick % 50 WHEN 7 THEN 'failed' WHEN 9 THEN 'pending' ELSE 'completed' END,
    ARRAY['tag-' || d.pick % 11, 'tag-' || 20 + d.pick % 29, 'tag-' || 60 + d.pick % 97], d.at, d.at
FROM loading.numbered d JOIN loading.sentences s ON s.n = d.n % 997 JOIN loading.sentences t ON t.n = d.n / 3 % 991;
