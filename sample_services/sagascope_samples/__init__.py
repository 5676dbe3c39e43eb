"""Six small services that show sagas, and faults planted in them."""
