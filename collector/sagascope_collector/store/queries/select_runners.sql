SELECT name, step, service FROM runners
