SELECT EXISTS (SELECT 1 FROM {source} AS source_row WHERE {condition})
