-- name: select_stop
SELECT database_id, is_clean FROM state

-- name: update_clean
UPDATE state SET is_clean = $is_clean
