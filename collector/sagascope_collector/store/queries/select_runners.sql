SELECT environment, name, step, service FROM runners
