SELECT
    incident,
    any_value(environment),
    any_value(name),
    any_value(step),
    coalesce(mode(service) FILTER (service <> ''), ''),
    any_value(phase),
    any_value(reason),
    any_value(fingerprint),
    arg_max(error, since),
    count(*),
    min(since),
    quantile_disc(since, 0.5),
    max(since),
    max(joined_at),
    arg_min(id, since, 5),
    count_if(remedy = 'resume'),
    count_if(remedy = 'undo'),
    count_if(remedy = 'verify_first')
FROM standing
GROUP BY incident
ORDER BY incident
