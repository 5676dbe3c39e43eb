SELECT shelf, environment, name, status FROM shelf_flows
