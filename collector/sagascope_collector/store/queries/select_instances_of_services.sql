SELECT * FROM instances SEMI JOIN wanted_services USING (environment, service)
