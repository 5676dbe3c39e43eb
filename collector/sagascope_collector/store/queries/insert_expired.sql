INSERT INTO expired SELECT mark, $day FROM marks
