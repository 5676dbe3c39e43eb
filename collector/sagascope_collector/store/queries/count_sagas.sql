SELECT count(*) FROM sagas
