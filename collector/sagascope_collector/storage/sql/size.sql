-- name: select_used
SELECT block_size, used_blocks FROM pragma_database_size() WHERE database_name = current_database()
