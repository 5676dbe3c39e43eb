SELECT number, cents, currency FROM entries WHERE payment = :payment AND kind = 'record'
