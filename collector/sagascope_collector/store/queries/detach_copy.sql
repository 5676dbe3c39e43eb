DETACH copied
