SELECT number, sagas, earliest, latest, bytes, steps, services FROM shelves ORDER BY number
