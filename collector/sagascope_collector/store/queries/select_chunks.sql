SELECT number, spans, logs, links, earliest, latest, bytes FROM chunks ORDER BY number
