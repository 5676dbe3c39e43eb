SELECT hash(environment, id) AS fingerprint FROM settled
