SELECT document FROM lessons
