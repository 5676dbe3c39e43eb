SELECT DISTINCT environment FROM all_sagas WHERE id = $id
