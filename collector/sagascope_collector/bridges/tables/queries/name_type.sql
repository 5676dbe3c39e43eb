SELECT format_type(%(oid)s, NULL)
