"""Six small services that run sagas, and the faults that the demo plants in them."""
