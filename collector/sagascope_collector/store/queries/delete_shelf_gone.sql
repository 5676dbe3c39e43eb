DELETE FROM shelf_gone WHERE shelf IN (FROM unnest($numbers))
