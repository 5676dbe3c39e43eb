SELECT max({cursor})::text FROM {source} AS source_row
