SELECT received, stored, rejected, duplicate FROM counters
