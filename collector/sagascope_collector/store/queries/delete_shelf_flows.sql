DELETE FROM shelf_flows WHERE shelf IN (FROM unnest($numbers))
