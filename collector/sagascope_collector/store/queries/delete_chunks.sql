DELETE FROM chunks WHERE number IN (FROM unnest($numbers))
