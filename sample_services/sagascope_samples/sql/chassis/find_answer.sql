SELECT answer FROM answers WHERE key = :key
