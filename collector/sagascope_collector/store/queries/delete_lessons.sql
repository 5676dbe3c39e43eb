DELETE FROM lessons
USING batch_lessons AS told
WHERE lessons.environment = told.environment
    AND lessons.name = told.name
    AND lessons.id = told.id
    AND lessons.run = told.run
