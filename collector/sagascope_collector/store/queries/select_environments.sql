SELECT DISTINCT environment FROM sagas WHERE id = $id
