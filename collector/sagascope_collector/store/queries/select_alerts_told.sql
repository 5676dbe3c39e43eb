SELECT webhook, incident, opened_at, grown, is_over, over_since FROM alerts_told WHERE NOT is_over
