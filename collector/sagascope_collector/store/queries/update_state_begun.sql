UPDATE state SET begun = TRUE
