UPDATE state SET projected = $projected
