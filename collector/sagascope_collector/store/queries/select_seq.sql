SELECT seq FROM counters
