UPDATE counters SET
    seq = $seq,
    received = received + $received,
    stored = stored + $stored,
    rejected = rejected + $rejected,
    duplicate = duplicate + $duplicate
