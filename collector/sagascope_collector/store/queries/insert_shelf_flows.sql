INSERT INTO shelf_flows SELECT $shelf, * FROM flows
