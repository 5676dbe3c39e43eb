SELECT before FROM shrunk
