UPDATE incident_changes SET note = ''
WHERE note <> '' AND EXISTS (FROM texts WHERE contains(note, texts."text"))
