SELECT EXISTS (FROM spans WHERE trace_id = $id OR span_id = $id)
