INSERT INTO bookings (payment, customer, state) VALUES (:payment, :customer, 'booked') RETURNING number
