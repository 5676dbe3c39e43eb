"""The dashboard in a browser: a package, so that its browser ends before tests with event loops of their own."""
