"""One module a screen: it renders what its view model prepares."""
