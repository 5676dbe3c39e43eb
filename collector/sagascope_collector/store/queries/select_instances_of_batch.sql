SELECT * FROM instances SEMI JOIN batch_processes USING (environment, service, identity)
