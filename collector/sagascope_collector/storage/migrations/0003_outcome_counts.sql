-- How sagas ended, by when: the baseline from which failure rates are diagnosed. Kept when the sagas themselves are deleted.
-- `slot` is when they ended, in seconds since 1970, cut to minutes, and to hours where they are old; `failed` counts
-- those that failed or were compensated
CREATE TABLE outcome_counts (
    environment VARCHAR,
    name VARCHAR,
    slot BIGINT,
    ended BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    PRIMARY KEY (environment, name, slot)
);

INSERT INTO outcome_counts
SELECT environment, name, ended_at // 60_000_000_000 * 60 AS slot, count(*), count_if(status <> 'completed')
FROM ended_sagas
GROUP BY ALL;
