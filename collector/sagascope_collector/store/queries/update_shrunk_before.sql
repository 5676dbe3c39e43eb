UPDATE shrunk SET before = $before
