SELECT mark FROM expired WHERE mark = $mark LIMIT 1
