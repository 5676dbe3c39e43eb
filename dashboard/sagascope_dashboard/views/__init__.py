"""View models as trees of elements for the browser. Pure: a saved page uses the same trees."""
