SELECT max({cursor})::text FROM {source} AS told
