DELETE FROM shelves WHERE number IN (FROM unnest($numbers))
