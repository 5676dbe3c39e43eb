"""What was prepared, as nodes for the browser. Pure: a saved page is made of the same."""
