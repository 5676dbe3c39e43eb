SELECT customer, currency, cents FROM movements WHERE payment = :payment AND kind = 'debit'
