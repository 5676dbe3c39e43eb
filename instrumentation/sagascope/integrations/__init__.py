"""One module for each library that Sagascope works beside."""
