SELECT environment, id, "text" FROM forgetting
