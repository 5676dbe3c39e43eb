UPDATE state SET
    sealed_through = $sealed_through,
    seq = $seq,
    received = $received,
    stored = $stored,
    rejected = $rejected,
    duplicate = $duplicate
