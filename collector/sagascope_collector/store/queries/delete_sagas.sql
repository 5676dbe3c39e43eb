DELETE FROM sagas USING settled WHERE sagas.environment = settled.environment AND sagas.id = settled.id
