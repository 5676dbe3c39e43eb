UPDATE bookings SET state = 'cancelled' WHERE payment = :payment AND state = 'booked' RETURNING number
