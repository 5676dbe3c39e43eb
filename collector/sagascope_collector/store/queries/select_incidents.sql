SELECT key, document FROM incidents
